"""The codec loop: resuming bit for bit, the adversary's start, what is measured, divergence, what is
refused."""

import itertools
import json
import math
import os
import signal

import numpy as np
import pytest
import torch

from rawmm_cli.codecs import base as codes
from rawmm_cli.config import presets
from rawmm_cli.data import prepared
from rawmm_cli.data.rows import picture_row
from rawmm_cli.runs import checkpoint, models, records
from rawmm_cli.runs import folder as run_files
from rawmm_cli.system.errors import CheckpointError, ConfigError, DataError, DivergedError, LockedError
from rawmm_cli.training import codec_state as codec_run
from rawmm_cli.training import optimizer
from rawmm_cli.training import train_codec as module
from rawmm_cli.training.adversary import PatchDiscriminator, balance, fooled, hinge
from rawmm_cli.training.train_codec import train_codec

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
TIMES = {"seconds", "documents_per_second", "memory", "eta"}
# 10 steps over 1.7 epochs of 24 pictures; a checkpoint between two records
SHORT = [
    "data.set=few",
    "data.size=16",
    "train.documents=40",
    "train.batch=4",
    "train.save_every=20",
    "train.log_every=12",
    "train.sample_every=20",
    "train.threads=1",
    "train.trackers=[]",
    "train.warmup=8",
]
GRID = ["codec.factor=8", "codec.patch=4", "codec.width=16", "codec.blocks=1"]
KINDS = {
    "vq": [
        *GRID,
        "codec.kind=vq",
        "codec.codes=16",
        "codec.dimension=4",
        "codec.decay=0.5",
        "codec.restart=1",
    ],
    "fsq": [*GRID, "codec.kind=fsq", "codec.levels=[5, 4]"],
    "lfq": [*GRID, "codec.kind=lfq", "codec.bits=4"],
    "rvq": [*GRID, "codec.kind=rvq", "codec.codes=8", "codec.dimension=4", "codec.quantizers=2"],
    "kl": [*GRID, "codec.kind=kl"],
    "query": [
        "codec.kind=query",
        "codec.patch=8",
        "codec.width=16",
        "codec.heads=2",
        "codec.depth=1",
        "codec.queries=3",
    ],
    "gan": [*GRID, "codec.kind=fsq", "loss.adversary=0.1", "loss.adversary_start=16"],
}


def settings(*words):
    return presets.resolve({}, [*SHORT, *words])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data folder with 24 training and 6 held-out pictures: smooth ones, which can be learned."""
    folder, dice = tmp_path_factory.mktemp("data"), np.random.default_rng(0)

    def picture():
        y, x = np.mgrid[:16, :16] / 16
        waves = [np.sin(2 * np.pi * (a * x + b * y) + c) for a, b, c in dice.uniform(-1, 1, (3, 3))]
        return np.rint(127.5 + 127 * np.stack(waves, -1)).astype(np.uint8)

    rows = {
        split: [picture_row(picture(), [], source=f"{split}/{n}") for n in range(count)]
        for split, count in (("train", 24), ("held_out", 6))
    }
    prepared.write(folder / "few", rows, {"name": "few"})
    return folder


def go(chosen, data, run, until=math.inf):
    """Train, and leave as if killed after the step that reaches `until` documents -> all records."""
    loop, found = train_codec(chosen, data, run, CPU, lambda message: None), []
    for record in loop:
        found.append(record)
        if record["documents"] >= until:
            loop.close()
    return found


def everything(run):
    newest = checkpoint.latest(run)
    values = {
        f"{path.stem}/{key}": value
        for path in sorted(newest.glob("*.safetensors"))
        for key, value in checkpoint.tensors(newest, path.stem).items()
    }
    lines = [
        {key: value for key, value in record.items() if key not in TIMES} for record in run_files.rows(run)
    ]
    sheets = {path.name: path.read_bytes() for path in sorted((run / "samples").iterdir())}
    return values, (lines, sheets, (run / "evaluation.json").read_text(), checkpoint.state(newest)["window"])


def assert_equal_runs(one, other):
    (values, rest), (others, other_rest) = everything(one), everything(other)
    assert values.keys() == others.keys()
    assert [name for name in values if not torch.equal(values[name], others[name])] == []
    assert rest == other_rest


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """kind -> the folder of a run that nothing stopped."""
    made = {}

    def run(kind):
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp("whole") / "run"
            go(settings(*KINDS[kind]), data, made[kind])
        return made[kind]

    return run


# ----------------------------------------------------------------------------------------------- stop, resume


@pytest.mark.parametrize("kind", KINDS)
def test_stop_and_resume_is_the_same_as_never_stopped(kind, whole, data, tmp_path):
    chosen = settings(*KINDS[kind])
    assert go(chosen, data, tmp_path / "run", 28)[-1]["documents"] == 28
    assert [record["documents"] for record in go(chosen, data, tmp_path / "run")] == [24, 28, 32, 36, 40]
    assert_equal_runs(tmp_path / "run", whole(kind))
    assert go(chosen, data, tmp_path / "run") == []


def test_another_seed_is_another_run(whole, data, tmp_path):
    go(settings(*KINDS["fsq"], "train.seed=1"), data, tmp_path / "run")
    (one, _), (other, _) = everything(whole("fsq")), everything(tmp_path / "run")
    assert not torch.equal(one["model/encoder.layers.0.weight"], other["model/encoder.layers.0.weight"])


def test_pictures_of_a_run_are_every_picture_once_an_epoch(data, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(prepared.Prepared, "image", spied(prepared.Prepared.image, seen))
    go(settings(*KINDS["fsq"], "train.documents=24", "train.sample_every=1000"), data, tmp_path / "run")
    assert sorted(seen[:24]) == list(range(24)) != seen[:24]


def spied(real, seen):
    def image(self, index):
        seen.append(index)
        return real(self, index)

    return image


def test_changed_settings_and_data_are_refused(whole, data, tmp_path):
    with pytest.raises(CheckpointError, match=r"codec.levels was \(5, 4\), now \(5, 5\)"):
        go(settings(*KINDS["fsq"], "codec.levels=[5, 5]"), data, whole("fsq"))
    with pytest.raises(CheckpointError, match="started with other settings"):
        go(settings(*KINDS["fsq"], "loss.l1=1"), data, whole("fsq"))
    rows = {split: prepared.read_split(data / "few", split).to_pylist()[1:] for split in prepared.SPLITS}
    prepared.write(tmp_path / "few", rows, {"name": "few"})
    with pytest.raises(CheckpointError, match="was trained on other data: the set 'few' has changed"):
        go(settings(*KINDS["fsq"]), tmp_path, whole("fsq"))


# -------------------------------------------------------------------------------------------------- it learns


@pytest.mark.parametrize("kind", ["vq", "fsq", "lfq", "rvq", "kl", "query"])
def test_it_learns(kind, data, tmp_path):
    words = [
        "train.documents=600",
        "train.batch=8",
        "train.learning_rate=1e-2",
        "train.sample_every=600",
        "train.decay=0.5",
        "loss.entropy=0.002",
    ]
    found = go(settings(*KINDS[kind], *words), data, tmp_path / "run")
    assert found[0]["l2"] > 0.3 and found[-1]["l2"] < 0.6 * found[0]["l2"]


def test_parts_of_the_loss_add_up(whole):
    for kind, parts in {
        "vq": {"l2": 1, "commitment": 0.25},
        "lfq": {"l2": 1, "commitment": 0.25, "entropy": 0.02},
        "kl": {"l2": 1, "kl": 1e-6},
    }.items():
        for record in records.read(whole(kind) / "records.jsonl"):
            assert record["loss"] == pytest.approx(
                sum(weight * record[name] for name, weight in parts.items()), rel=1e-5
            )
            assert record["psnr"] == pytest.approx(10 * math.log10(2**2 / record["l2"]))


def test_records_and_rates(whole):
    chosen, lines = settings(*KINDS["fsq"]), run_files.rows(whole("fsq"))
    assert [line["documents"] for line in lines] == [12, 20, 24, 36, 40]
    assert ["held_out_psnr" in line for line in lines] == [False, True, False, False, True]
    for line in lines:
        seen = line["documents"] - 4
        assert line["learning_rate"] == pytest.approx(
            1e-3 * optimizer.rate(chosen.train, seen, 1 - seen / 40)
        )


# --------------------------------------------------------------------------------------------------- measured


def test_what_is_measured_is_what_the_loaded_codec_does(whole, data):
    """PSNR, usage and entropy of evaluation.json again, from the run folder by another path."""
    codec, told = (
        codec_run.load(whole("fsq"), CPU),
        json.loads((whole("fsq") / "evaluation.json").read_text()),
    )
    held_out, train = (prepared.load(data / "few", split) for split in ("held_out", "train"))
    found = []
    for n in range(len(held_out)):
        real = held_out.image(n)
        made = codec.decode(codec.encode(real[None]), 2)[0]
        found.append(
            10 * math.log10(255**2 / np.mean((real.numpy().astype(float) - made.numpy().astype(float)) ** 2))
        )
    assert told["held_out"]["psnr"] == pytest.approx(np.mean(found))
    used = np.concatenate([codec.encode(train.image(n)[None]).flatten().numpy() for n in range(len(train))])
    share = np.bincount(used, minlength=20) / len(used)
    entropy = -sum(p * math.log2(p) for p in share if p)
    assert told["codes"] == pytest.approx(
        {
            "tokens": 4,
            "vocabulary": 20,
            "bits": 4 * math.log2(20),
            "pictures": 24,
            "usage": np.mean(share > 0),
            "perplexity": 2**entropy,
            "used_bits": entropy,
        }
    )


def test_usage_counts_a_window_of_pictures():
    used = codec_run.Used(torch.zeros(1, 4, dtype=torch.long))
    used.add(torch.tensor([[[0], [1]]]), window=2)
    assert used.figures()["usage"] == 0.5
    used.add(torch.tensor([[[2], [1]]]), window=2)
    assert used.figures()["usage"] == 0.75
    used.add(torch.tensor([[[3], [3]]]), window=2)  # a new window: what is told is the last full one
    assert (
        used.figures()["usage"] == 0.75
        and used.before.tolist() == [[1, 2, 1, 0]]
        and used.now.tolist() == [[0, 0, 0, 2]]
    )


def test_the_averages_follow_and_codebooks_are_copied(whole):
    newest = checkpoint.latest(whole("vq"))
    model, average = (checkpoint.tensors(newest, name) for name in ("model", "ema"))
    book = "quantizer.inner._codebook.embed"
    assert torch.equal(model[book], average[book])
    assert not torch.equal(model["decoder.last.weight"], average["decoder.last.weight"])


def test_the_sheet_shows_pictures_above_their_reconstructions(whole, data):
    from PIL import Image

    sheet = np.asarray(Image.open(whole("fsq") / "samples" / "step_00000010.png"))
    codec, held_out = codec_run.load(whole("fsq"), CPU), prepared.load(data / "few", "held_out")
    real = held_out.image(1)
    made = codec.decode(codec.encode(real[None]), 2)[0]
    zoom, cell = 6, 6 * 16 + 2
    for row, shown in enumerate((real, made)):
        found = sheet[2 + row * cell : 2 + row * cell + 96 : zoom, 2 + cell : 2 + cell + 96 : zoom]
        assert np.array_equal(found, shown.permute(1, 2, 0).numpy())
    note = json.loads((whole("fsq") / "samples" / "step_00000010.json").read_text())
    assert note["shows"] == "reconstructions" and note["documents"] == 40


# ---------------------------------------------------------------------------------------------- the adversary


def test_the_codec_does_not_hear_the_adversary_before_its_start_but_it_learns(data, tmp_path):
    plain, silent, heard = (tmp_path / name for name in ("plain", "silent", "heard"))
    go(settings(*KINDS["fsq"]), data, plain)
    go(settings(*KINDS["fsq"], "loss.adversary=0.1", "loss.adversary_start=40"), data, silent)
    go(settings(*KINDS["fsq"], "loss.adversary=0.1", "loss.adversary_start=36"), data, heard)
    (one, _), (two, _), (three, _) = map(everything, (plain, silent, heard))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], three[name]) for name in one if name.startswith("model/"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first = PatchDiscriminator().state_dict()
    assert not torch.equal(two["adversary/layers.0.weight"], first["layers.0.weight"])
    lines = run_files.rows(heard)
    assert ["adversary" in line for line in lines] == [False] * 4 + [True]
    assert all("discriminator" in line for line in lines)


def test_the_losses_of_the_adversary():
    real, made = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.5])
    assert hinge(real, made).item() == pytest.approx(((0 + 0.5) / 2 + (0 + 1.5) / 2) / 2)
    assert fooled(made).item() == pytest.approx(1.25)
    weight = torch.tensor([3.0, 4.0], requires_grad=True)
    assert balance((weight**2).sum(), 5 * weight.sum(), weight).item() == pytest.approx(
        10 / (5 * 2**0.5 + 1e-4)
    )


def test_a_discriminator_scores_squares():
    scores = PatchDiscriminator()(torch.randn(2, 3, 32, 64))
    assert scores.shape == (2, 1, 4, 8)


def test_an_adaptive_adversary_trains(data, tmp_path):
    found = go(settings(*KINDS["gan"], "loss.adaptive=true", "train.documents=24"), data, tmp_path / "run")
    assert ["adversary" in record for record in found] == [False] * 4 + [True] * 2


# ------------------------------------------------------------------------------------------------- perceptual


def test_a_perceptual_loss_counts_differences_of_features(data, tmp_path):
    from safetensors.torch import save_file

    from rawmm_cli.metrics import mobilenet

    torch.manual_seed(0)
    save_file(mobilenet.MobileNetV2().state_dict(), str(tmp_path / "features.safetensors"))
    words = [f"loss.features={tmp_path / 'features.safetensors'}", "loss.perceptual=0.5", "train.documents=8"]
    record = go(settings(*KINDS["fsq"], *words), data, tmp_path / "run")[0]
    assert (
        record["loss"] == pytest.approx(record["l2"] + 0.5 * record["perceptual"], rel=1e-5)
        and record["perceptual"] > 0
    )


def test_a_perceptual_loss_pulls_at_the_codec_alone(data, tmp_path):
    """The weights of the network stay, and the gradient of the codec is another than without."""
    from safetensors.torch import save_file

    from rawmm_cli.metrics import mobilenet

    torch.manual_seed(0)
    save_file(mobilenet.MobileNetV2().state_dict(), str(tmp_path / "features.safetensors"))
    words = ["train.documents=8", f"loss.features={tmp_path / 'features.safetensors'}"]
    one, other = (
        go(settings(*KINDS["fsq"], *words, f"loss.perceptual={weight}"), data, tmp_path / f"run{weight}")[0]
        for weight in (0, 5)
    )
    assert one["l2"] == other["l2"] and one["gradient_norm"] != other["gradient_norm"]
    network = module._network(settings(*KINDS["fsq"], *words, "loss.perceptual=1").loss, torch.device("cpu"))
    assert not network.training and not any(p.requires_grad for p in network.parameters())


def test_weights_that_are_none_are_refused(data, tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"no")
    for name, told in (("x.safetensors", "holds no weights"), ("none.safetensors", "cannot be read")):
        words = [f"loss.features={tmp_path / name}", "loss.perceptual=0.5"]
        with pytest.raises(ConfigError, match=f"loss.features: .* {told} .*set loss.perceptual=0"):
            go(settings(*KINDS["fsq"], *words), data, tmp_path / "run")


# ------------------------------------------------------------------------------------------------- what fails


@pytest.mark.parametrize("what", ["l2", "gradient"])
def test_a_step_that_is_not_finite_is_not_taken(what, data, tmp_path, monkeypatch):
    real, calls = module._gradients, itertools.count()

    def spoiled(run, state, *rest):
        parts, made, used = real(run, state, *rest)
        if next(calls) == 6:
            if what == "gradient":
                next(state.model.parameters()).grad[0] = math.inf
            else:
                parts = parts | {what: torch.tensor(math.nan)}
        return parts, made, used

    with monkeypatch.context() as patch:
        patch.setattr(module, "_gradients", spoiled)
        with pytest.raises(DivergedError) as caught:
            go(settings(*KINDS["fsq"]), data, tmp_path / "run")
    assert caught.value.exit_code == 6 and "not finite at document 24; the step was not taken" in str(
        caught.value
    )
    assert len(json.loads((tmp_path / "run" / "bad_batch.json").read_text())["sources"]) == 4
    assert checkpoint.state(checkpoint.latest(tmp_path / "run"))["documents"] == 20
    assert go(settings(*KINDS["fsq"]), data, tmp_path / "run")[-1]["documents"] == 40


def test_sigint_saves_and_exits_130(data, tmp_path, rawmm, monkeypatch):
    step, run = module.take_step, tmp_path / "runs" / "mine"

    def interrupted(place, state, *rest):
        if state.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return step(place, state, *rest)

    preset = tmp_path / "mine.yaml"
    preset.write_text("# Mine.\ncodec: {kind: fsq}\n")
    words = ["train", *SHORT, *KINDS["fsq"], "--preset", preset, "--data-dir", data, "--runs-dir", run.parent]
    with monkeypatch.context() as patch:
        patch.setattr(module, "take_step", interrupted)
        code, out, err = rawmm(*words)
    assert (code, out) == (130, "") and "stopped by SIGINT and saved at 12 documents" in err
    assert checkpoint.state(checkpoint.latest(run))["documents"] == 12
    code, out, _ = rawmm(*words, "--json", "train.time=0.001")
    assert code == 0 and json.loads(out)["documents"] == 12  # the time is up


def test_a_second_process_is_told_at_once(data, tmp_path):
    loop = train_codec(settings(*KINDS["fsq"]), data, tmp_path / "run", CPU, lambda message: None)
    next(loop)
    with pytest.raises(LockedError, match="is training in"):
        go(settings(*KINDS["fsq"]), data, tmp_path / "run")
    loop.close()


def test_pictures_that_do_not_fit_are_named(data, tmp_path):
    with pytest.raises(
        DataError, match="picture train/0 of set 'few' has 16x16 pixels and data.size is 8; set data.size"
    ):
        go(settings(*KINDS["fsq"], "data.size=8"), data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_runs_of_codecs_and_of_models_are_not_taken_for_each_other(whole, tiny_run, tmp_path):
    with pytest.raises(
        CheckpointError, match="is a run of a model that draws and reads, not of a codec; train one with"
    ):
        codec_run.load(tiny_run, CPU)
    for wrong in (checkpoint.load_model, models.load):
        with pytest.raises(
            CheckpointError, match="is a run of a codec, not of a model that draws and reads; use it as"
        ):
            wrong(whole("fsq"), CPU)
    with pytest.raises(CheckpointError, match="is not a run: it has no config.yaml"):
        codec_run.load(tmp_path, CPU)


def test_a_loaded_codec_does_not_learn(whole):
    codec = codec_run.load(whole("vq"), CPU)
    before = {name: value.clone() for name, value in codec.state_dict().items()}
    tokens = codec.encode(torch.zeros(2, 3, 16, 16, dtype=torch.uint8))
    codec(codes.to_unit(codec.decode(tokens, 2)))
    assert not codec.training and all(
        torch.equal(value, before[name]) for name, value in codec.state_dict().items()
    )


# ------------------------------------------------------------------------------------------- the command line


def test_the_command_trains_resumes_reports_and_shows(data, tmp_path, rawmm):
    preset = tmp_path / "mine.yaml"
    preset.write_text("# Mine.\ncodec: {kind: fsq}\n")
    words = [
        "train",
        *SHORT,
        *KINDS["fsq"],
        "--preset",
        preset,
        "--data-dir",
        data,
        "--runs-dir",
        tmp_path / "runs",
        "--json",
    ]
    code, out, err = rawmm(*words)
    told = json.loads(out)
    assert code == 0 and told["documents"] == 40 and told["status"] == "trained" and told["held_out_psnr"] > 5
    assert json.loads(rawmm(*words)[1])["status"] == "was trained already"
    code, out, _ = rawmm(*words, "--dry-run")
    told = json.loads(out)
    assert (told["tokens"], told["vocabulary"], told["steps"]) == (4, 20, 10) and told[
        "bits"
    ] == pytest.approx(17.29, abs=0.01)
    code, out, _ = rawmm("report", "mine", "--runs-dir", tmp_path / "runs")
    page = (tmp_path / "runs" / "mine" / "report.html").read_text()
    assert code == 0
    for shown in ("PSNR", "Codebook usage", "Perplexity", "its reconstruction", "Held-out"):
        assert shown in page
    assert rawmm(*words, "--gpus", "2")[0] == 2
    code, _, err = rawmm("bench", "train", "--preset", preset)
    assert code == 2 and "trains a codec, and bench measures models that draw and read" in err
    code, _, err = rawmm("sample", "x", "--run", "mine", "--runs-dir", tmp_path / "runs")
    assert code == 4 and "is a run of a codec" in err
