"""Settings of models on other tokens than raw patches: how many positions, and what goes together. No codec
is trained here: what a run of one would say is written down."""

import numpy as np
import pytest
from test_rules import square

from rawmm_cli.config import automatic, build, presets
from rawmm_cli.core.model import count_parameters
from rawmm_cli.profiling import sizes
from rawmm_cli.system.errors import ConfigError

GRID = {"factor": 4, "patch": 4, "width": 16, "blocks": 1}
LEARNED = {
    "vq": {**GRID, "codes": 16, "dimension": 4},
    "fsq": {**GRID, "levels": [3, 5]},
    "lfq": {**GRID, "bits": 4, "groups": 2},
    "rvq": {**GRID, "codes": 16, "dimension": 4, "quantizers": 3},
    "kl": {**GRID, "channels": 3},
    "query": {"patch": 4, "width": 16, "heads": 2, "depth": 1, "queries": 5},
    "multiscale": {**GRID, "codes": 16, "dimension": 4, "scales": [1, 2]},
}
# (head, codec): tokens of a picture of 8 px, its positions, V, G
POSITIONS = {
    ("autoregressive", "vq"): (4, 4, 16, 1),
    ("autoregressive", "fsq"): (4, 4, 15, 1),
    ("autoregressive", "lfq"): (4, 8, 16, 2),
    ("autoregressive", "rvq"): (4, 12, 16, 3),
    ("autoregressive", "query"): (5, 5, 1000, 1),
    ("autoregressive", "subpixels"): (64, 192, 256, 3),
    ("masked", "fsq"): (4, 4, 15, 1),
    ("masked", "rvq"): (4, 4, 16, 3),
    ("masked", "subpixels"): (64, 64, 256, 3),
    ("scales", "multiscale"): (5, 5, 16, 1),
    ("diffusion", "kl"): (4, 4, None, None),
    ("diffusion", "shrunk"): (1, 1, 256, None),
}
every_pair = pytest.mark.parametrize("pair", POSITIONS, ids=", ".join)


def settings(head, codec, *words, preset="tiny"):
    """Settings in which all that follows from the run of a codec is filled in."""
    chosen = {"kind": codec}
    if codec in LEARNED:
        learned = {"kind": codec, **LEARNED[codec]}
        chosen |= {"run": "mine", "hash": "0" * 64, "size": 8, "learned": learned}
    config = presets.load(preset, ["train.length=256", f"head.kind={head}", *words, f"codec={chosen}"])
    return config


@every_pair
def test_tokens_and_positions_are_those_of_the_model(pair):
    config = settings(*pair)
    tokens, positions, vocabulary, codes = POSITIONS[pair]
    model = build.model(config, "meta")
    assert config.codec.tokens(8, 8) == model.codec.tokens(8, 8) == tokens
    assert config.positions(8, 8) == len(model.blocks(8, 8).block) == positions
    assert config.positions_of(np.array([0, 64])).tolist() == [0, positions]
    assert (getattr(model.codec, "vocabulary", None), getattr(model.codec, "codes", None)) == (
        vocabulary,
        codes,
    )
    assert config.codec.integers == model.codec.discrete == config.head.integers


@every_pair
def test_the_length_of_a_row_follows_from_the_tokens(pair):
    config = settings(*pair, "train.length=auto")
    config, _ = automatic.settle(config, square(8, texts=(3,)))
    assert config.train.length == POSITIONS[pair][1] + 3 + 4


@every_pair
def test_what_is_trained_counts_and_the_codec_does_not(pair):
    model = build.model(settings(*pair), "meta")
    counts = count_parameters(model)
    assert counts["total"] == counts["text"] + counts["image"] + counts["backbone"]
    assert (counts["codec"] > 0) == (pair[1] in LEARNED)
    assert not any(name.startswith("codec.") for name in model.state_dict())


def test_a_step_is_estimated_with_a_logit_for_every_code():
    config = settings("autoregressive", "rvq")
    step = sizes.step(config, build.model(config, "meta"), None, 1, "fp32")
    assert (step.outputs, step.patches) == (16, config.train.batch * 12)


def test_a_row_that_is_too_short_for_the_codes_of_a_picture():
    with pytest.raises(ConfigError) as caught:
        settings("autoregressive", "rvq", "train.length=15")
    assert str(caught.value) == (
        "train.length = 15 is too short for one picture of 8 px: it needs 16 and the caption's bytes; set "
        "train.length=76"
    )


MISFITS = {
    (
        "diffusion",
        "fsq",
    ): "head.kind = diffusion learns vectors, and codec.kind = fsq gives integers; allowed: ",
    (
        "autoregressive",
        "kl",
    ): "head.kind = autoregressive learns integers, and codec.kind = kl gives vectors; ",
    ("masked", "kl"): "head.kind = masked learns integers, and codec.kind = kl gives vectors; allowed: ",
}


@pytest.mark.parametrize("pair", MISFITS, ids=", ".join)
def test_what_does_not_go_together(pair):
    with pytest.raises(ConfigError) as caught:
        settings(*pair)
    line = str(caught.value)
    assert line.startswith(MISFITS[pair]) and "\n" not in line
    kinds = [kind for kind in ("vq", "raw") if f"codec.kind={kind}" in line or f", {kind}" in line]
    assert kinds == (["raw"] if pair[0] == "diffusion" else ["vq"])


@pytest.mark.parametrize(
    "codec, size, wanted",
    [
        ("vq", 6, "takes sides that are multiples of 4; set data.size or codec.run"),
        ("query", 12, "takes 8x8 only, the size that it learned; set data.size or codec.run"),
    ],
)
def test_a_size_that_the_codec_does_not_take(codec, size, wanted):
    with pytest.raises(ConfigError) as caught:
        settings("autoregressive", codec, f"data.size={size}")
    assert str(caught.value) == f"data.size = {size} does not fit: the codec of run mine {wanted}"


@pytest.mark.parametrize("codec", LEARNED)
def test_settings_survive_a_dump(codec):
    head = {"kl": "diffusion", "multiscale": "scales"}.get(codec, "autoregressive")
    config = settings(head, codec)
    from rawmm_cli.config.yaml_text import parse_yaml

    assert presets.resolve(parse_yaml(presets.dump(config), "a dump")) == config
