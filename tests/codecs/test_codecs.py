"""Learned codecs: tokens and shapes, networks and sizes, settings, and errors."""

import math

import numpy as np
import pytest
import torch

from rawmm_cli.codecs import convolutional
from rawmm_cli.codecs.base import to_images, to_unit
from rawmm_cli.codecs.raw import RawPatches
from rawmm_cli.config import build, presets
from rawmm_cli.config.yaml_text import parse_yaml
from rawmm_cli.system.errors import ConfigError

pytestmark = pytest.mark.usefixtures("one_thread")


SMALL = ["data.size=16", "train.batch=4"]


GRID = [*SMALL, "codec.factor=8", "codec.patch=4", "codec.width=16", "codec.blocks=1"]


CODECS = {
    "vq": [*GRID, "codec.kind=vq", "codec.codes=32", "codec.dimension=4"],
    "vq, not cosine": [*GRID, "codec.kind=vq", "codec.codes=32", "codec.dimension=4", "codec.cosine=false"],
    "fsq": [*GRID, "codec.kind=fsq", "codec.levels=[5, 4]"],
    "fsq, two levels, three groups": [*GRID, "codec.kind=fsq", "codec.levels=[2, 3]", "codec.groups=3"],
    "lfq": [*GRID, "codec.kind=lfq", "codec.bits=5"],
    "bsq, two groups": [*GRID, "codec.kind=lfq", "codec.bits=4", "codec.groups=2", "codec.spherical=true"],
    "rvq": [*GRID, "codec.kind=rvq", "codec.codes=16", "codec.dimension=4", "codec.quantizers=3"],
    "rvq of one": [*GRID, "codec.kind=rvq", "codec.codes=16", "codec.dimension=4", "codec.quantizers=1"],
    "multiscale": [*GRID, "codec.kind=multiscale", "codec.codes=16", "codec.dimension=4"],
    "multiscale, tables of its own": [
        *GRID,
        "codec.kind=multiscale",
        "codec.codes=16",
        "codec.dimension=4",
        "codec.scales=[1, 2]",
        "codec.shared=false",
        "codec.blend=0",
    ],
    "query, fsq": [
        *SMALL,
        "codec.kind=query",
        "codec.patch=4",
        "codec.width=16",
        "codec.depth=1",
        "codec.heads=2",
        "codec.queries=6",
        "codec.quantizer.levels=[5, 4]",
    ],
    "query, causal, rvq": [
        *SMALL,
        "codec.kind=query",
        "codec.patch=4",
        "codec.width=16",
        "codec.depth=1",
        "codec.heads=2",
        "codec.queries=6",
        "codec.causal=true",
        "codec.quantizer.kind=rvq",
        "codec.quantizer.codes=16",
        "codec.quantizer.quantizers=2",
    ],
}


KL = [*GRID, "codec.kind=kl", "codec.channels=3"]


LENGTHS = {
    "multiscale": (5, 16),
    "multiscale, tables of its own": (5, 16),
    "fsq, two levels, three groups": (12, 6),
    "bsq, two groups": (8, 16),
    "rvq": (12, 16),
    "rvq of one": (4, 16),
    "query, fsq": (6, 20),
    "query, causal, rvq": (12, 16),
    "fsq": (4, 20),
}


def pictures(count=4, size=16, seed=0):
    return torch.from_numpy(
        np.random.default_rng(seed).integers(0, 256, (count, 3, size, size), dtype=np.uint8)
    )


def randomised(words, seed=0):
    """A codec with noise on its weights that has seen one batch in training mode, as codebooks start from
    data."""
    codec = build.codec(presets.resolve({}, words))
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for parameter in codec.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        codec.train()(to_unit(pictures(seed=1)))
    return codec.eval()


@pytest.fixture(scope="module")
def codecs():
    return {name: randomised(words) for name, words in CODECS.items()}


# --------------------------------------------------------------------------------------------- tokens, shapes


@pytest.mark.parametrize("name", CODECS)
def test_tokens_are_integers_of_the_vocabulary_and_decode_to_pictures(name, codecs):
    codec, images = codecs[name], pictures()
    tokens = codec.encode(images)
    rows, _ = codec.grid(16, 16)
    length, vocabulary = LENGTHS.get(name, (4, 32))
    assert codec.discrete and codec.vocabulary == vocabulary
    assert (
        tokens.dtype == torch.long
        and tokens.shape == (4, codec.tokens(16, 16), codec.codes)
        and codec.length(16, 16) == length
    )
    assert codec.tokens(16, 16) * codec.codes == length and 0 <= tokens.min() and tokens.max() < vocabulary
    assert codec.bits(16, 16) == pytest.approx(length * math.log2(vocabulary))
    decoded = codec.decode(tokens, rows)
    assert decoded.dtype == torch.uint8 and decoded.shape == images.shape
    assert not tokens.requires_grad


@pytest.mark.parametrize("name", CODECS)
def test_encode_and_decode_are_the_network_that_was_trained(name, codecs):
    """A round trip through tokens equals `forward`, which does not pass through integers."""
    codec, images = codecs[name], pictures()
    with torch.no_grad():
        expected = to_images(codec(to_unit(images)).pixels)
    decoded = codec.decode(codec.encode(images), codec.grid(16, 16)[0])
    assert (expected.int() - decoded.int()).abs().max() <= 1  # rounding of two paths in fp32
    assert not torch.equal(decoded[0], decoded[1])  # the codec does not ignore its input


@pytest.mark.parametrize("name", CODECS)
def test_tokens_of_a_picture_do_not_depend_on_its_batch(name, codecs):
    batch = codecs[name].encode(pictures())
    assert torch.equal(codecs[name].encode(pictures()[2:3])[0], batch[2])


def test_tokens_are_position_major(codecs):
    """Residual VQ: another first code of the second position changes the values of that position only."""
    codec = codecs["rvq"]
    tokens = codec.encode(pictures(1))
    values = codec.quantizer.values(tokens)
    tokens[0, 1, 0] = (tokens[0, 1, 0] + 1) % 16
    changed = (codec.quantizer.values(tokens) != values).any(-1)[0]
    assert changed.tolist() == [False, True, False, False]


def test_the_kl_codec_gives_vectors():
    codec, images = randomised(KL), pictures()
    tokens = codec.encode(images)
    assert not codec.discrete and codec.vocabulary is None and codec.bits(16, 16) is None
    assert (
        tokens.shape == (4, codec.tokens(16, 16), 3) and tokens.dtype == torch.float32 and codec.values == 3
    )
    assert torch.equal(tokens, codec.encode(images))  # the mean, not a sample
    assert codec.decode(tokens, 2).shape == images.shape


def test_the_kl_of_a_posterior_is_torchs():
    codec = randomised(KL)
    mean, log_variance = codec.posterior(to_unit(pictures()))
    ours = codec(to_unit(pictures())).losses["kl"]
    normal = torch.distributions.Normal(mean, (log_variance / 2).exp())
    torch.testing.assert_close(
        ours, torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).mean()
    )


@pytest.mark.parametrize("words", [*CODECS.values(), KL], ids=[*CODECS, "kl"])
def test_settings_and_codecs_count_the_same_tokens(words):
    """Settings know the number of tokens of a picture before a codec is built."""
    settings = presets.resolve({}, words)
    codec, size = build.codec(settings), settings.data.size
    assert settings.codec.tokens(size, size) == codec.tokens(size, size)
    if settings.codec.kind != "query":
        assert settings.codec.tokens(size, 2 * size) == codec.tokens(size, 2 * size)
        with pytest.raises(ValueError):
            codec.grid(size, size + settings.codec.stride // 2)


def test_length_and_bits_of_raw_patches():
    codec = RawPatches(4)
    assert (codec.discrete, codec.vocabulary, codec.length(8, 12), codec.bits(8, 12)) == (
        False,
        256,
        288,
        2304.0,
    )


# ----------------------------------------------------------------------------------------- networks and sizes


@pytest.mark.parametrize("factor, patch", [(8, 4), (8, 8), (8, 2), (4, 1), (16, 4)])
def test_a_position_covers_factor_pixels(factor, patch):
    encoder, decoder = (
        convolutional.Encoder(factor, patch, 64, 1),
        convolutional.Decoder(factor, patch, 64, 1),
    )
    pixels = torch.randn(2, 3, 2 * factor, 3 * factor)
    assert encoder.grid(2 * factor, 3 * factor) == (2, 3)
    latents = encoder(pixels)
    assert latents.shape == (2, 6, 64) and decoder(latents, 2).shape == pixels.shape


@pytest.mark.parametrize("side, stride", [(3, 1), (1, 1), (2, 2), (4, 4)])
def test_a_convolution_is_torchs(side, stride):
    ours, x = convolutional.Convolution(5, 7, side, stride), torch.randn(2, 5, 8, 12)
    theirs = torch.nn.Conv2d(5, 7, side, stride, side // 2 if stride == 1 else 0)
    theirs.load_state_dict({"weight": ours.weight.view(7, 5, side, side), "bias": ours.bias})
    torch.testing.assert_close(ours(x), theirs(x))
    assert ours(x).shape[-2:] == (8 // stride, 12 // stride)


@pytest.mark.parametrize("name", ["fsq", "query, fsq"])
def test_hidden_matrices_are_all_but_the_first_the_last_and_the_quantizers(name, codecs):
    codec = codecs[name]
    ids = {id(p) for p in [*codec.encoder.hidden(), *codec.decoder.hidden()]}
    hidden = {name for name, p in codec.named_parameters() if id(p) in ids}
    assert all(p.ndim == 2 for p in codec.parameters() if id(p) in ids)
    edges = (
        {"encoder.layers.0.weight", "decoder.last.weight"}
        if name == "fsq"
        else {
            "encoder.into.weight",
            "decoder.out.weight",
            "encoder.places",
            "encoder.asked",
            "decoder.places",
            "decoder.order",
        }
    )
    matrices = {
        name for name, p in codec.named_parameters() if p.ndim == 2 and not name.startswith("quantizer")
    }
    assert hidden == matrices - edges and edges < matrices


def test_positions_are_in_reading_order():
    encoder = convolutional.Encoder(4, 4, 8, 1)  # fresh: its blocks are the identity
    pixels = torch.zeros(1, 3, 8, 12)
    pixels[:, :, 4:8, 8:12] = 1
    changed = (encoder.layers[0](pixels) != encoder.layers[0](torch.zeros_like(pixels))).any(1).flatten()
    assert changed.tolist() == [False] * 5 + [True]


@pytest.mark.parametrize(
    "words, message",
    [
        (GRID, "15x16 pixels does not divide into positions of 8"),
        (CODECS["query, fsq"], "15x16 pixels does not fit: this codec takes 16x16 only"),
    ],
)
def test_a_size_that_does_not_fit_is_refused(words, message):
    codec = build.codec(presets.resolve({}, ["codec.kind=fsq", *words]))
    for method in (codec.grid, codec.tokens, codec.length, codec.bits):
        with pytest.raises(ValueError, match=message):
            method(15, 16)
    with pytest.raises(ValueError, match=message):
        codec.encode(torch.zeros(1, 3, 15, 16, dtype=torch.uint8))


@pytest.mark.parametrize("causal", [True, False])
def test_a_causal_query_does_not_depend_on_later_ones(causal):
    words = [word for word in CODECS["query, causal, rvq"] if "causal" not in word]
    encoder = randomised([*words, f"codec.causal={str(causal).lower()}"]).encoder
    pixels = to_unit(pictures())
    with torch.no_grad():
        before = encoder(pixels)
        encoder.asked[3:] += 1
        after = encoder(pixels)
    assert torch.allclose(before[:, :3], after[:, :3], atol=1e-6) is causal
    assert not torch.allclose(before[:, 3:], after[:, 3:], atol=1e-3)


@pytest.mark.parametrize("name", CODECS)
def test_a_state_dict_restores_the_codec(name, codecs):
    other = build.codec(presets.resolve({}, CODECS[name]))
    other.load_state_dict(codecs[name].state_dict())
    assert torch.equal(other.eval().encode(pictures()), codecs[name].encode(pictures()))


def test_fresh_weights_are_a_function_of_the_seed():
    one, same, other = (
        build.codec(presets.resolve({}, [*CODECS["vq"], f"train.seed={seed}"])).state_dict()
        for seed in (0, 0, 1)
    )
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


# --------------------------------------------------------------------------------------------------- settings


def test_the_kind_of_codec_decides_what_is_trained():
    assert (
        type(presets.resolve({})).__name__
        == type(presets.resolve({}, ["codec.kind=raw"])).__name__
        == "Config"
    )
    assert type(presets.resolve({"codec": {"kind": "vq"}})).__name__ == "CodecConfig"
    settings = presets.resolve({"codec": {"kind": "vq", "codes": 7}}, ["codec.kind=fsq", "codec.width=64"])
    assert settings.codec.kind == "fsq" and settings.codec.width == 64


@pytest.mark.parametrize(
    "word",
    [
        "codec.kind=rvq",
        "codec.kind=kl",
        "codec.kind=query",
        "codec.kind=multiscale",
        "codec.levels=[2, 2]",
        "loss.l1=1e-9",
        "train.time=1.5",
    ],
)
def test_a_dump_of_codec_settings_loads_back(word):
    settings = presets.resolve({"codec": {"kind": "fsq"}}, [word])
    assert presets.resolve(parse_yaml(presets.dump(settings), "a dump")) == settings


ERRORS = {
    "head.kind=diffusion": "codec.kind = fsq without codec.run trains a codec, which has no head; allowed "
    "for a model on the codes of a trained codec: its kind and its run, as in codec.kind=fsq codec.run=NAME",
    "codec.level=[3]": "unknown key 'codec.level' (did you mean codec.levels?); allowed here: kind, ",
    "codec.codes=5": "codec.codes does not belong to codec.kind = fsq; allowed here: kind, ",
    "codec.kind=fsk": "codec.kind = fsk (did you mean fsq?); allowed: raw, shrunk, subpixels, vq, fsq, lfq, "
    "rvq, query, multiscale, kl",
    "codec.levels=[1]": "codec.levels.0 = 1 is not allowed: input should be greater than or equal to 2",
    "codec.factor=12": "codec.factor = 12 is not codec.patch = 4 times a power of 2; set codec.patch=12, or "
    "another factor",
    "codec.width=40": "codec.width = 40 cannot be halved from patches of 4 px to 8 px; set codec.width to a "
    "multiple of 16",
    "data.size=20": "codec.factor = 8 does not divide data.size = 20; allowed: 1, 2, 4, 5, 10, 20",
    "loss.l2=0": "loss.l1 and loss.l2 are both 0; allowed: one of them above 0",
    "loss.perceptual=1": "loss.perceptual = 1 needs weights; set loss.features=PATH, or loss.perceptual=0",
    "train.batchs=3": "unknown key 'train.batchs' (did you mean train.batch?); allowed here: documents, ",
}


@pytest.mark.parametrize("word", ERRORS)
def test_errors_of_codec_settings(word):
    with pytest.raises(ConfigError) as caught:
        presets.resolve({"codec": {"kind": "fsq"}}, [word])
    assert str(caught.value).startswith(ERRORS[word]) and "\n" not in str(caught.value)


def test_errors_of_the_quantizer_inside():
    def error(word):
        with pytest.raises(ConfigError) as caught:
            presets.resolve({"codec": {"kind": "query"}}, [word])
        return str(caught.value)

    assert error("codec.quantizer.kind=fsk").startswith(
        "codec.quantizer.kind = fsk (did you mean fsq?); allowed: fsq, vq, lfq, rvq"
    )
    assert error("codec.quantizer.levls=[3]").startswith(
        "unknown key 'codec.quantizer.levls' (did you mean codec.quantizer.levels?); allowed here: kind, "
        "levels, groups"
    )
    assert error("codec.heads=3") == "width 128 / heads 3 must be a multiple of 8"
