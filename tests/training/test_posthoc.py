"""An average of a width chosen after training: its algebra against integrals, and against the average
itself."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from rawmm_cli.config import presets
from rawmm_cli.config.model import EMA
from rawmm_cli.runs import checkpoint, loading
from rawmm_cli.system import disk
from rawmm_cli.system.errors import CheckpointError, ConfigError, DiskFullError
from rawmm_cli.training import ema, posthoc
from rawmm_cli.training.train import train


@pytest.mark.parametrize(
    "one, other", [((1.0, 17.0), (1.0, 7.0)), ((0.4, 17.0), (1.0, 7.0)), ((0.9, 7.0), (0.3, 7.0))]
)
def test_inner_products_are_integrals(one, other):
    t = (np.arange(400_000) + 0.5) / 400_000

    def profile(time, gamma):
        return np.where(t <= time, (gamma + 1) * t**gamma / time ** (gamma + 1), 0)

    assert posthoc.inner(*one, *other) == pytest.approx((profile(*one) * profile(*other)).mean(), rel=1e-4)


def test_a_width_that_was_kept_needs_one_snapshot():
    times, gammas = [0.25, 0.25, 0.5, 0.5, 1.0, 1.0], [ema.exponent(w) for w in (0.05, 0.1)] * 3
    actual = posthoc.weights(times, gammas, 1.0, gammas[1])
    np.testing.assert_allclose(actual, [0, 0, 0, 0, 0, 1], atol=1e-6)


@pytest.mark.parametrize("width", [0.04, 0.07, 0.13, 0.2])
def test_any_width_comes_out_of_the_snapshots(width):
    """A walk of weights, averaged directly with that width, and put together from 32 snapshots of two other
    widths."""
    torch.manual_seed(0)
    steps, widths = 640, (0.05, 0.1)
    settings, model = EMA(kind="power", widths=widths), nn.Linear(20, 20)
    averages, direct, stored = [nn.Linear(20, 20) for _ in widths], nn.Linear(20, 20), []
    for number in range(steps):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.1 * torch.randn_like(p) + 0.02)
        for average, old in zip(averages, ema.decays(settings, number, 1)):
            ema.update(average, model, old)
        ema.update(direct, model, (1 - 1 / (number + 1)) ** (ema.exponent(width) + 1))
        if (number + 1) % 20 == 0:
            stored += [
                ((number + 1) / steps, ema.exponent(w), a.weight.detach().clone())
                for w, a in zip(widths, averages)
            ]
    shares = posthoc.weights([k[0] for k in stored], [k[1] for k in stored], 1.0, ema.exponent(width))
    actual = sum(float(share) * k[2] for share, k in zip(shares, stored))
    expected, last = direct.weight.detach(), model.weight.detach()
    assert (actual - expected).norm() < 0.02 * (last - expected).norm(), (
        "far nearer to the average than the weights are"
    )


@pytest.fixture(scope="module")
def power_run(few_digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("power") / "run"
    chosen = presets.load(
        "tiny",
        [
            "train.documents=640",
            "train.threads=1",
            "train.ema.kind=power",
            "train.save_every=320",
            "train.ema.snapshots=8",
            "sample.steps=1",
            "train.sample_every=640",
        ],
    )
    for _ in train(chosen, few_digits, folder, torch.device("cpu"), lambda message: None):
        pass
    return folder


def test_a_run_keeps_snapshots_and_two_averages(power_run):
    assert [documents for documents, _ in posthoc.snapshots(power_run)] == list(range(80, 641, 80))
    newest = checkpoint.latest(power_run)
    for number, name in enumerate(("ema", "ema_2"), 1):
        saved = loading.tensors(newest, name)
        tensors, documents = posthoc.average(power_run, (0.05, 0.1)[number - 1])
        assert documents == 640 and tensors.keys() == saved.keys()
        for key in saved:
            torch.testing.assert_close(tensors[key], saved[key], rtol=1e-4, atol=1e-5)


def test_the_command_makes_a_run_that_samples(power_run, tmp_path, rawmm):
    code, out, err = rawmm(
        "average", power_run, "--width", "0.15", "--name", "wide", "--runs-dir", tmp_path, "--json"
    )
    assert code == 0, err
    assert '"width": 0.15' in out and '"snapshots": 8' in out
    code, out, err = rawmm(
        "sample",
        "one",
        "--run",
        tmp_path / "wide",
        "--json",
        "--runs-dir",
        tmp_path,
        "--count",
        1,
        "--out",
        tmp_path / "drawn",
    )
    assert code == 0, err
    code, _, err = rawmm("average", power_run, "--width", "0.15", "--name", "wide", "--runs-dir", tmp_path)
    assert code == 2 and "is there already" in err


def test_what_cannot_be_averaged_is_said(power_run, tiny_run):
    with pytest.raises(CheckpointError, match="train.ema.kind=power"):
        posthoc.average(tiny_run, 0.1)
    with pytest.raises(ConfigError, match="width = 0.5 is not allowed"):
        posthoc.average(power_run, 0.5)


# ----------------------------------------------------------------------------------------------------- damage


@pytest.fixture
def copied(power_run, tmp_path):
    return shutil.copytree(power_run, tmp_path / "runs" / "power")


def averaged(rawmm, run, name="wide"):
    """-> (exit code, stderr) of `rawmm average`."""
    code, out, err = rawmm(
        "average", run, "--width", "0.15", "--name", name, "--runs-dir", run.parent, "--json"
    )
    assert (code == 0) == bool(out) and (code == 0) == (run.parent / name).exists()
    return code, err


def flipped(path):
    content = bytearray(path.read_bytes())
    content[-2] ^= 0x40
    path.write_bytes(content)


@pytest.mark.parametrize(
    "harm, message",
    [
        (lambda path: flipped(path), "does not match its checksum"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes, not"),
        (lambda path: path.write_bytes(b""), "has 0 bytes"),
        (lambda path: path.unlink(), "is missing"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "is missing"),
    ],
)
def test_a_damaged_snapshot_is_named(copied, rawmm, harm, message):
    harm(copied / "averages" / "documents_0000000320" / "1.safetensors")
    code, err = averaged(rawmm, copied)
    assert code == 4 and err.count("\n") == 1 and message in err
    assert "documents_0000000320" in err and "the average is made of the other snapshots then" in err
    shutil.rmtree(copied / "averages" / "documents_0000000320")
    assert averaged(rawmm, copied)[0] == 0


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda name, value: {name: value * float("nan")}, "not finite"),
        (lambda name, value: {name: value.half()}, "torch.float16"),
        (lambda name, value: {name: value[:-1].contiguous()}, "does not fit the settings"),
        (lambda name, value: {"other": value.clone()}, "does not fit the settings"),
    ],
)
def test_a_snapshot_of_another_model_is_refused_without_sums_too(copied, rawmm, change, message):
    """Snapshots of earlier versions have no sums."""
    folder = copied / "averages" / "documents_0000000320"
    (folder / "MANIFEST.json").unlink()
    assert averaged(rawmm, copied, "before")[0] == 0
    tensors = load_file(folder / "2.safetensors")
    name = max(tensors, key=lambda name: tensors[name].ndim)
    save_file(tensors | change(name, tensors[name]), folder / "2.safetensors")
    code, err = averaged(rawmm, copied)
    assert code == 4 and err.count("\n") == 1 and message in err


def test_foreign_names_among_the_snapshots_are_ignored(copied):
    before = posthoc.snapshots(copied)
    for name in (
        "documents_",
        "documents_x",
        "documents_1_2",
        "documents_0000000000",
        "documents_-5",
        "notes",
    ):
        (copied / "averages" / name).mkdir()
    (copied / "averages" / "documents_0000000999").write_text("a file")
    assert posthoc.snapshots(copied) == before


def test_a_run_without_a_checkpoint(copied, rawmm):
    shutil.rmtree(copied / "checkpoints")
    code, err = averaged(rawmm, copied)
    assert code == 4 and "has no checkpoint yet" in err


def test_an_average_that_was_killed_is_made_again(copied, rawmm, monkeypatch):
    """At each rename: nothing of its name is there, and the same command works afterwards."""

    class Killed(BaseException):
        pass

    real, remove = Path.rename, shutil.rmtree
    for number in range(1, 10):
        calls = []

        def rename(path, to, calls=calls, number=number):
            calls.append(path)
            if len(calls) == number:
                raise Killed
            return real(path, to)

        def rmtree(path, calls=calls, number=number, **options):
            if len(calls) < number:  # the dead tidy nothing up
                remove(path, **options)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", rename)
            patch.setattr(shutil, "rmtree", rmtree)
            try:
                posthoc.write(copied, 0.15, copied.parent / "wide")
                break
            except Killed:
                assert not (copied.parent / "wide").exists() and (copied.parent / ".wide.partial").exists()
                assert loading.find_run(copied.parent, None) == copied, "half of a run is none"
    assert number >= 3 and checkpoint.latest(copied.parent / "wide")
    assert not (copied.parent / ".wide.partial").exists()


def test_two_averages_of_one_name_at_once(copied, rawmm):
    with disk.new_folder(copied.parent / "wide"):
        code, err = averaged(rawmm, copied, "wide")
        assert code == 8 and "another process writes" in err


def test_a_full_disk_while_a_snapshot_is_kept(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        with pytest.raises(DiskFullError):
            posthoc.keep(tmp_path, 16, [{"a": torch.ones(1)}])
    assert list((tmp_path / "averages").iterdir()) == []


def test_the_holder_of_the_lock_sweeps_what_a_kill_left(copied, few_digits):
    names = [
        f".{'0a' * 8}.partial",
        "samples/.0000.png.77.partial",
        "averages/.documents_0000000400.partial/1",
    ]
    for name in names:
        (copied / name).parent.mkdir(exist_ok=True)
        (copied / name).write_text("half")
    config = loading.run_config(copied)
    assert list(train(config, few_digits, copied, torch.device("cpu"), lambda message: None)) == []
    assert not any((copied / name).parent.exists() and (copied / name).exists() for name in names)
    assert not (copied / "averages" / ".documents_0000000400.partial").exists()
