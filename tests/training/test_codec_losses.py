"""The losses of the codec loop: it learns, the adversary's start, the perceptual loss, what is measured."""

import json
import math

import numpy as np
import pytest
import torch
from codec_runs import KINDS, everything, go, settings
from training_runs import CPU

from rawmm_cli.codecs.base import Section
from rawmm_cli.data import prepared
from rawmm_cli.runs import checkpoint, loading, records
from rawmm_cli.runs.codec import load_codec
from rawmm_cli.runs.folder import ordered_records
from rawmm_cli.system.errors import ConfigError
from rawmm_cli.training import optimizer
from rawmm_cli.training import train_codec as module
from rawmm_cli.training.adversary import PatchDiscriminator, balance, fooled, hinge
from rawmm_cli.training.codec_state import Used

pytestmark = pytest.mark.usefixtures("one_thread")


# -------------------------------------------------------------------------------------------------- it learns


@pytest.mark.parametrize("kind", ["vq", "fsq", "lfq", "rvq", "kl", "query"])
def test_it_learns(kind, few_pictures, tmp_path):
    words = [
        "train.documents=600",
        "train.batch=8",
        "train.learning_rate=1e-2",
        "train.sample_every=600",
        "train.decay=0.5",
        "loss.entropy=0.002",
    ]
    lines = go(settings(*KINDS[kind], *words), few_pictures, tmp_path / "run")
    assert lines[0]["l2"] > 0.3 and lines[-1]["l2"] < 0.6 * lines[0]["l2"]


def test_parts_of_the_loss_add_up(whole_codec):
    for kind, parts in {
        "vq": {"l2": 1, "commitment": 0.25},
        "lfq": {"l2": 1, "commitment": 0.25, "entropy": 0.02},
        "kl": {"l2": 1, "kl": 1e-6},
    }.items():
        for record in records.read(whole_codec(kind) / "records.jsonl"):
            assert record["loss"] == pytest.approx(
                sum(weight * record[name] for name, weight in parts.items()), rel=1e-5
            )
            assert record["psnr"] == pytest.approx(10 * math.log10(2**2 / record["l2"]))


def test_records_and_rates(whole_codec):
    chosen, lines = settings(*KINDS["fsq"]), ordered_records(whole_codec("fsq"))
    assert [line["documents"] for line in lines] == [12, 20, 24, 36, 40]
    assert ["held_out_psnr" in line for line in lines] == [False, True, False, False, True]
    for line in lines:
        seen = line["documents"] - 4
        assert line["learning_rate"] == pytest.approx(
            1e-3 * optimizer.rate(chosen.train, seen, 1 - seen / 40)
        )


# --------------------------------------------------------------------------------------------------- measured


def test_what_is_measured_is_what_the_loaded_codec_does(whole_codec, few_pictures):
    """PSNR, usage and entropy of evaluation.json again, from the run folder by another path."""
    codec, evaluation = (
        load_codec(whole_codec("fsq"), CPU),
        json.loads((whole_codec("fsq") / "evaluation.json").read_text()),
    )
    held_out, train = (prepared.load(few_pictures / "few", split) for split in ("held_out", "train"))
    psnrs = []
    for n in range(len(held_out)):
        real = held_out.image(n)
        reconstruction = codec.decode(codec.encode(real[None]), 2)[0]
        psnrs.append(
            10
            * math.log10(
                255**2 / np.mean((real.numpy().astype(float) - reconstruction.numpy().astype(float)) ** 2)
            )
        )
    assert evaluation["held_out"]["psnr"] == pytest.approx(np.mean(psnrs))
    used = np.concatenate([codec.encode(train.image(n)[None]).flatten().numpy() for n in range(len(train))])
    share = np.bincount(used, minlength=20) / len(used)
    entropy = -sum(p * math.log2(p) for p in share if p)
    assert evaluation["codes"] == pytest.approx(
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
    used = Used(torch.zeros(1, 4, dtype=torch.long), (Section("", slice(None)),))
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


def test_the_averages_follow_and_codebooks_are_copied(whole_codec):
    newest = checkpoint.latest(whole_codec("vq"))
    model, average = (loading.tensors(newest, name) for name in ("model", "ema"))
    book = "quantizer.inner._codebook.embed"
    assert torch.equal(model[book], average[book])
    assert not torch.equal(model["decoder.last.weight"], average["decoder.last.weight"])


# ---------------------------------------------------------------------------------------------- the adversary


def test_the_codec_does_not_hear_the_adversary_before_its_start_but_it_learns(few_pictures, tmp_path):
    plain, silent, adversarial = (tmp_path / name for name in ("plain", "silent", "adversarial"))
    go(settings(*KINDS["fsq"]), few_pictures, plain)
    go(settings(*KINDS["fsq"], "loss.adversary=0.1", "loss.adversary_start=40"), few_pictures, silent)
    go(settings(*KINDS["fsq"], "loss.adversary=0.1", "loss.adversary_start=36"), few_pictures, adversarial)
    (one, _), (two, _), (three, _) = map(everything, (plain, silent, adversarial))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], three[name]) for name in one if name.startswith("model/"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first = PatchDiscriminator().state_dict()
    assert not torch.equal(two["adversary/layers.0.weight"], first["layers.0.weight"])
    lines = ordered_records(adversarial)
    assert ["adversary" in line for line in lines] == [False] * 4 + [True]
    assert all("discriminator" in line for line in lines)


def test_the_losses_of_the_adversary():
    real, reconstruction = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.5])
    assert hinge(real, reconstruction).item() == pytest.approx(((0 + 0.5) / 2 + (0 + 1.5) / 2) / 2)
    assert fooled(reconstruction).item() == pytest.approx(1.25)
    weight = torch.tensor([3.0, 4.0], requires_grad=True)
    assert balance((weight**2).sum(), 5 * weight.sum(), weight).item() == pytest.approx(
        10 / (5 * 2**0.5 + 1e-4)
    )


def test_a_discriminator_scores_squares():
    scores = PatchDiscriminator()(torch.randn(2, 3, 32, 64))
    assert scores.shape == (2, 1, 4, 8)


def test_an_adaptive_adversary_trains(few_pictures, tmp_path):
    lines = go(
        settings(*KINDS["gan"], "loss.adaptive=true", "train.documents=24"), few_pictures, tmp_path / "run"
    )
    assert ["adversary" in record for record in lines] == [False] * 4 + [True] * 2


# ------------------------------------------------------------------------------------------------- perceptual


def test_a_perceptual_loss_counts_differences_of_features(few_pictures, tmp_path):
    from safetensors.torch import save_file

    from rawmm_cli.metrics import mobilenet

    torch.manual_seed(0)
    save_file(mobilenet.MobileNetV2().state_dict(), str(tmp_path / "features.safetensors"))
    words = [f"loss.features={tmp_path / 'features.safetensors'}", "loss.perceptual=0.5", "train.documents=8"]
    record = go(settings(*KINDS["fsq"], *words), few_pictures, tmp_path / "run")[0]
    assert (
        record["loss"] == pytest.approx(record["l2"] + 0.5 * record["perceptual"], rel=1e-5)
        and record["perceptual"] > 0
    )


def test_a_perceptual_loss_pulls_at_the_codec_alone(few_pictures, tmp_path):
    """The weights of the network stay, and the gradient of the codec is another than without."""
    from safetensors.torch import save_file

    from rawmm_cli.metrics import mobilenet

    torch.manual_seed(0)
    save_file(mobilenet.MobileNetV2().state_dict(), str(tmp_path / "features.safetensors"))
    words = ["train.documents=8", f"loss.features={tmp_path / 'features.safetensors'}"]
    one, other = (
        go(
            settings(*KINDS["fsq"], *words, f"loss.perceptual={weight}"),
            few_pictures,
            tmp_path / f"run{weight}",
        )[0]
        for weight in (0, 5)
    )
    assert one["l2"] == other["l2"] and one["gradient_norm"] != other["gradient_norm"]
    network = module._network(settings(*KINDS["fsq"], *words, "loss.perceptual=1").loss, torch.device("cpu"))
    assert not network.training and not any(p.requires_grad for p in network.parameters())


def test_weights_that_are_none_are_refused(few_pictures, tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"no")
    for name, message in (("x.safetensors", "holds no weights"), ("none.safetensors", "cannot be read")):
        words = [f"loss.features={tmp_path / name}", "loss.perceptual=0.5"]
        with pytest.raises(ConfigError, match=f"loss.features: .* {message} .*set loss.perceptual=0"):
            go(settings(*KINDS["fsq"], *words), few_pictures, tmp_path / "run")
