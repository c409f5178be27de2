"""Two settings, each with the peer's Transformer and rawmm's two backbones of the same size.

`small` is the peer's own MNIST example: width 64, depth 4, 8 heads of 32, 14 x 14 patches, batch 16.
`large` has ten times the parameters. A gated attention unit has half the parameters of one of the peer's
layers (attention and MLP), so there are twice as many. rawmm's heads have usual widths (64 and 96); the
number of heads changes the time, not the number of parameters."""

import argparse

PEER = "transfusion-pytorch"
SIZE, PATCH, CHANNELS, BATCH, CLASSES = 28, 2, 3, 16, 10
PATCHES = (SIZE // PATCH) ** 2
HEADS, HEAD_WIDTH = 8, 32
WARM = 5  # first steps, which are not timed, as they compile
QUIET = 0.05  # share of the cores that other processes may take without disturbing a timing
TOLERANCE = 0.02  # relative difference of the numbers of parameters in the Transformers

SETTINGS = {
    "small": {
        "peer": {"width": 64, "depth": 4},
        "gau": {"kind": "gau", "width": 128, "depth": 8, "key": 32, "expansion": 2},
        "transformer": {"kind": "transformer", "width": 128, "depth": 4, "heads": 2, "hidden": 368},
    },
    "large": {
        "peer": {"width": 160, "depth": 8},
        "gau": {"kind": "gau", "width": 288, "depth": 16, "key": 64, "expansion": 2},
        "transformer": {"kind": "transformer", "width": 288, "depth": 8, "heads": 3, "hidden": 800},
    },
}
OURS = ("gau", "transformer")
MODES = ("fp32", "bf16", "fp32 compiled", "bf16 compiled")  # the first is how the peer's example trains

# Sampling. `package`: the model inside the package (preset portraits). `example`: the setting `small`. At the
# peer's width its Transformer has as many parameters.
SAMPLED = {
    "package": {"peer": {"width": 138, "depth": 4, "vocabulary": 512, "patches": 64, "values": 192}},
    "example": {
        "ours": "small",
        "peer": {
            "width": 64,
            "depth": 4,
            "vocabulary": CLASSES,
            "patches": PATCHES,
            "values": CHANNELS * PATCH**2,
        },
    },
}
TEXT, EVALUATIONS, PICTURES = 64, 30, (1, 16)  # tokens of a text; evaluations of a picture; batch sizes
GIVEN = 80  # most positions of a text, with its prompt


def preset(setting: str, backbone: str, length: int, threads: int) -> dict:
    """Preset for `rawmm train`: defaults, except for sizes and for samples and checkpoints, which would
    disturb a timing. length: positions of a document, so that a row holds one and has no padding."""
    never = 1_000_000_000
    return {
        "data": {"set": "peers", "size": SIZE, "read": 0.0, "drop": 0.0},
        "codec": {"patch": PATCH},
        "backbone": SETTINGS[setting][backbone],
        "train": {
            "documents": never,
            "batch": BATCH,
            "length": length,
            "learning_rate": 3e-4,
            "threads": threads,
            "log_every": WARM * BATCH,
            "sample_every": never,
            "save_every": never,
        },
    }


def side_arguments(about: str) -> tuple[str, int]:
    """Setting and number of calls, from the command line of one side of `sampling.py`. about: its docs."""
    parser = argparse.ArgumentParser(description=" ".join(about.split()))
    parser.add_argument("setting", choices=SAMPLED)
    parser.add_argument("repeats", type=int, help="calls of each kind, of which the median counts")
    options = parser.parse_args()
    return options.setting, options.repeats


def check_parameters(ours: int, theirs: int) -> float:
    """The ratio ours / theirs. Raises ValueError where they differ by more than TOLERANCE."""
    share = ours / theirs
    if abs(share - 1) > TOLERANCE:
        raise ValueError(
            f"{ours:,} parameters against {theirs:,}: {share - 1:+.1%}; allowed: {TOLERANCE:.0%}"
        )
    return share
