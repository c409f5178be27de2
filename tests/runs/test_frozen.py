"""A codec that was trained, frozen inside a model: never learned, never saved with it, always the same."""

import shutil

import pytest
import torch
from frozen_runs import go, settings, train_codec
from helpers import randomised, tiny_backbone, tiny_head
from PIL import Image
from training_runs import CPU

from rawmm_cli.codecs.frozen import Frozen
from rawmm_cli.codecs.raw import RawPatches
from rawmm_cli.config import build, presets
from rawmm_cli.core.batch import pack
from rawmm_cli.core.document import Picture
from rawmm_cli.core.drawing import Sampling, draw
from rawmm_cli.core.loss import joint_loss
from rawmm_cli.core.mask import dense
from rawmm_cli.core.model import RawModel, count_parameters
from rawmm_cli.core.text_tokenizer import BOS, IMAGE, VOCABULARY
from rawmm_cli.data import prepared
from rawmm_cli.runs import checkpoint, loading, models
from rawmm_cli.runs.codec import load_codec, look_up
from rawmm_cli.runs.folder import read_config
from rawmm_cli.runs.lock import locked
from rawmm_cli.system import manifest
from rawmm_cli.system.errors import CheckpointError, ConfigError


@pytest.fixture(scope="module")
def trained(few_pictures, once):
    """A folder of runs with the codec `tokens` and the model `model` on it."""

    def make(folder):
        train_codec(few_pictures, folder)
        go(settings(), few_pictures, folder / "model")

    return once("a model on a codec", make)


@pytest.fixture
def runs(trained, tmp_path):
    """The same, to be changed."""
    shutil.copytree(trained, tmp_path / "runs")
    return tmp_path / "runs"


def pictures(data, split="train"):
    rows = prepared.load(data / "few", split)
    return torch.stack([rows.image(n) for n in range(len(rows))])


# --------------------------------------------------------------------------------------------- inside a model


def model_on(codec):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = RawModel(codec, tiny_head("clean"), tiny_backbone("gau"), dense, VOCABULARY, 32)
        return randomised(model)


def test_a_codec_that_is_the_identity_changes_no_bit():
    """Losses, gradients and drawings are those of raw patches."""
    raw, frozen = model_on(RawPatches(2)), model_on(Frozen(RawPatches(2), 1.0))
    picture = Picture(torch.arange(48, dtype=torch.uint8).view(3, 4, 4), True, 7)
    results = []
    for model in (raw, frozen):
        losses = joint_loss(model, pack([[BOS, 65, IMAGE, picture]], 16, model.blocks))
        losses.total.backward()
        drawn = draw(model, [[BOS, IMAGE]], [3], Sampling(size=(4, 4)))[0].pixels
        results.append([losses.total, drawn, *(p.grad for p in model.parameters())])
    assert len(results[0]) == len(results[1])
    assert all(torch.equal(one, other) for one, other in zip(*results))


def test_vectors_are_divided_on_their_way_in_and_multiplied_on_their_way_out():
    codec, images = Frozen(RawPatches(2), 0.25), torch.randint(0, 256, (2, 3, 4, 4)).byte()
    assert torch.equal(codec.encode(images), RawPatches(2).encode(images) * 4)
    assert torch.equal(codec.decode(codec.encode(images), 2), images)


def test_it_is_no_part_of_what_is_learned_saved_or_set_to_training(trained):
    model, *_ = loading.load_model(trained / "model", CPU)
    inner = model.codec.inner
    assert not {id(p) for p in model.parameters()} & {id(p) for p in inner.parameters()}
    assert not any(name.startswith("codec") for name in model.state_dict())
    model.train()
    assert model.training and not inner.training and not any(p.requires_grad for p in inner.parameters())
    counts = count_parameters(model)
    assert counts["codec"] == sum(p.numel() for p in inner.parameters()) > 0
    assert counts["total"] == sum(p.numel() for p in model.parameters())
    assert counts["total"] == counts["text"] + counts["image"] + counts["backbone"]
    model.double()
    assert all(p.dtype == torch.float64 for p in inner.parameters()), "it goes where the model goes"


def test_a_checkpoint_holds_none_of_it_and_training_leaves_it_as_it_was(trained):
    newest = checkpoint.latest(trained / "model")
    for name in ("model", "ema", "optimizer"):
        assert not any("codec" in key for key in loading.tensors(newest, name))
    model, _, _ = loading.load_model(trained / "model", CPU)
    own = load_codec(trained / "tokens", CPU).state_dict()
    assert all(torch.equal(value, own[key]) for key, value in model.codec.inner.state_dict().items())


@pytest.mark.parametrize("kind", ["vq", "fsq", "lfq", "rvq", "query"])
def test_every_kind_can_be_built_without_memory(kind, few_pictures, tmp_path):
    """On the meta device a model knows the tokens of its codec, which are those of the run of the codec."""
    codec = load_codec(train_codec(few_pictures, tmp_path, kind), CPU)
    config = look_up(settings("head.kind=autoregressive", kind=kind), tmp_path / "new")
    model = build.model(config, "meta")
    assert next(model.parameters()).device.type == "meta"
    count = model.codec.tokens(16, 16)
    assert count == config.codec.tokens(16, 16) == codec.tokens(16, 16)
    assert (model.codec.vocabulary, model.codec.codes) == (codec.vocabulary, codec.codes)
    assert config.positions(16, 16) == len(model.blocks(16, 16).block)
    assert Frozen(codec).encode(pictures(few_pictures)).shape == (24, count, codec.codes)


# -------------------------------------------------------------------------------------------- in the settings


def test_the_run_says_which_codec_it_has(trained):
    codec = read_config(trained / "model").codec
    assert codec.hash == manifest.recorded(checkpoint.latest(trained / "tokens"), "ema")
    assert codec.learned == read_config(trained / "tokens").codec and codec.size == 16
    assert read_config(checkpoint.latest(trained / "model")).codec == codec


def test_inside_the_model_vectors_of_the_training_set_have_deviation_1(trained, few_pictures):
    model, config, _ = loading.load_model(trained / "model", CPU)
    vectors = model.codec.encode(pictures(few_pictures)).double()
    assert abs(vectors.std(correction=0).item() - 1) < 1e-6
    own = load_codec(trained / "tokens", CPU).encode(pictures(few_pictures)).double()
    assert config.codec.deviation == pytest.approx(own.std(correction=0).item(), rel=1e-6)


def test_pictures_of_a_stream_are_encoded_while_training(trained, few_pictures, tmp_path):
    """The deviation is that of its first pictures; here these are all of them."""
    shutil.copytree(trained / "tokens", tmp_path / "tokens")
    (tmp_path / "files").mkdir()
    images = pictures(few_pictures)
    for number, image in enumerate(images):
        file = tmp_path / "files" / f"{number}.png"
        Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(file)
    words = f"data.stream.path={tmp_path / 'files'}", "data.stream.held_out=0.1", "data.stream.lanes=1"
    lines = []
    go(settings(*words), few_pictures, tmp_path / "model", 16, lines.append)
    assert "pictures of a stream are encoded while training" in lines
    model, config, _ = loading.load_model(tmp_path / "model", CPU)
    assert model.codec.encode(images).std().item() == pytest.approx(1, abs=0.1)
    assert config.codec.deviation > 0


def test_settings_of_the_set_follow_from_its_tokens(few_pictures, trained):
    """16 px in positions of 8 px are 4 tokens, with 4 marks."""
    from rawmm_cli.training.auto import settled

    config, _ = settled(settings("train.length=auto"), few_pictures, trained / "new")
    assert config.train.length == 4 + 4


def test_a_run_goes_on_with_the_codec_that_it_was_begun_with(few_pictures, trained, tmp_path):
    """Killed after 16 documents and resumed by the same command: bit for bit the same weights."""
    shutil.copytree(trained / "tokens", tmp_path / "tokens")
    for until in (16, float("inf")):
        go(settings(), few_pictures, tmp_path / "model", until)
    one, other = (
        loading.tensors(checkpoint.latest(folder / "model"), "model") for folder in (trained, tmp_path)
    )
    assert all(torch.equal(value, other[key]) for key, value in one.items())


# ------------------------------------------------------------------------------------------------ what is bad


def refused(error, exit_code, action):
    with pytest.raises(error) as caught:
        action()
    assert caught.value.exit_code == exit_code and "\n" not in str(caught.value)
    return str(caught.value)


def test_without_its_codec_a_run_cannot_be_used(runs, few_pictures):
    (runs / "tokens").rename(runs / "tokns")
    for action in (
        lambda: loading.load_model(runs / "model", CPU),
        lambda: go(settings(), few_pictures, runs / "model"),
        lambda: go(settings(), few_pictures, runs / "another"),
    ):
        line = refused(CheckpointError, 4, action)
        assert line.startswith(
            f"codec.run = tokens: there is no run {runs / 'tokens'} (did you mean tokns?); "
        )
        assert line.endswith("train a codec: `rawmm train --preset fsq-f8 --run tokens`")


@pytest.mark.parametrize(
    "name, how", [("digits-fsq", "--preset digits-fsq`"), ("mine", "--preset fsq-f8 --run mine`")]
)
def test_a_codec_that_is_missing_is_named_with_its_preset(tmp_path, name, how):
    with pytest.raises(CheckpointError) as caught:
        loading.codec_run(tmp_path, name)
    assert str(caught.value).endswith(f"or train a codec: `rawmm train {how}")


def test_with_another_codec_it_cannot_be_used_either(runs, few_pictures):
    shutil.rmtree(runs / "tokens")
    train_codec(few_pictures, runs, "kl", "train.seed=1")
    line = refused(CheckpointError, 4, lambda: loading.load_model(runs / "model", CPU))
    assert "holds another codec than the one that" in line and line.endswith("or train the model again")
    line = refused(CheckpointError, 4, lambda: go(settings(), few_pictures, runs / "model"))
    assert "holds another codec than the one that" in line and line.endswith("under another --run name")


def test_a_codec_that_is_still_in_training_is_refused(runs):
    with locked(runs / "tokens"):
        line = refused(CheckpointError, 4, lambda: look_up(settings(), runs / "new"))
    assert line.startswith("codec.run = tokens is still being trained, ")
    assert look_up(settings(), runs / "new").codec.known


def test_a_codec_without_a_checkpoint_is_refused(runs):
    shutil.rmtree(runs / "tokens" / "checkpoints")
    line = refused(CheckpointError, 4, lambda: look_up(settings(), runs / "new"))
    assert line.startswith("codec.run = tokens: ") and "has no checkpoint yet" in line


def test_a_run_of_a_model_is_no_codec(runs):
    line = refused(CheckpointError, 4, lambda: look_up(settings(run="model"), runs / "new"))
    assert "is a run of a model that draws and reads, not of a codec" in line


def test_a_codec_of_another_kind_is_told(runs):
    integers = presets.dump(presets.resolve({}, ["codec.kind=fsq", "data.size=16"]))
    (runs / "tokens" / "config.yaml").write_text(integers)
    line = refused(ConfigError, 2, lambda: look_up(settings(), runs / "new"))
    assert line == (
        f"codec.kind = kl, and the codec of {runs / 'tokens'} has codec.kind = fsq; set codec.kind=fsq"
    )


def test_pictures_of_a_size_that_the_codec_does_not_take(runs):
    line = refused(ConfigError, 2, lambda: look_up(settings("data.size=12"), runs / "new"))
    assert line == (
        "data.size = 12 does not fit: the codec of run tokens takes sides that are multiples of 8; set "
        "data.size or codec.run"
    )


# ----------------------------------------------------------------------------------------------------- export


def test_an_exported_model_takes_its_codec_along(runs, tmp_path, few_pictures):
    models.export(runs / "model", tmp_path / "out", "mine", few_pictures)
    before = models.load(runs / "model", CPU)
    shutil.rmtree(runs)
    after = models.load(tmp_path / "out", CPU)
    sampling = build.sampling(after.config)
    one, other = (draw(each.model, [[BOS, IMAGE]], [1], sampling)[0].pixels for each in (before, after))
    assert torch.equal(one, other)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "as vectors of a codec that was trained before (kl, tokens), and reads pictures" in card
    assert f"| codec | kl, frozen; SHA-256 begins with {after.config.codec.hash[:12]} |" in card
    (tmp_path / "out" / "codec.safetensors").unlink()
    assert "codec.safetensors is missing" in refused(
        CheckpointError, 4, lambda: models.load(tmp_path / "out", CPU)
    )


def test_what_is_about_lossless_input_says_that_it_needs_it(trained):
    from rawmm_cli.information import audit, image_bits

    loaded = models.load(trained / "model", CPU)
    images = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    for action in (lambda: audit.audit(loaded, []), lambda: image_bits.of_pictures(loaded, images, [""], 2)):
        line = refused(ConfigError, 2, action)
        assert "needs a model on raw patches; model has codec.kind = kl, which loses a part" in line
