"""Every system of docs/systems.md, as its preset says but small: a short run of each, with the codec that it
needs."""

from typer.testing import CliRunner

from rawmm_cli.cli import app

# preset -> preset of its codec
SYSTEMS = {
    "digits": None,
    "digits-patch1": None,
    "digits-dit": None,
    "digits-uvit": None,
    "digits-kl": "digits-vae",
    "digits-next": "digits-fsq",
    "digits-masked": "digits-fsq",
    "digits-pixels": None,
    "digits-scales": "digits-multiscale",
    "digits-query": "digits-queries",
    "digits-unet": None,
    "digits-flow": None,
    "digits-fuyu": None,
}
SHORT = [
    "train.documents=16",
    "train.batch=8",
    "train.warmup=8",
    "train.log_every=8",
    "train.sample_every=1000",
    "train.threads=1",
    "train.trackers=[]",
]
CODEC = [*SHORT, "codec.width=32"]
MODEL = [
    *SHORT,
    "backbone.width=32",
    "backbone.heads=2",
    "backbone.depth=1",
    "backbone.hidden=48",
    "train.workers=0",
    "train.compile=no",
    "train.precision=fp32",
    "sample.max_text=4",
]
MORE = {
    "digits-uvit": ["backbone.depth=3"],
    "digits-unet": ["baseline.channels=8"],
    "digits-flow": ["baseline.width=16", "baseline.heads=2"],
}


def words(preset):
    """Settings over a preset that make it small."""
    return [*MODEL, *MORE.get(preset, [])]


def trained(preset, runs, data):
    """A short run of a system, and before it of its codec, named as their presets are."""
    for name in (SYSTEMS[preset], preset):
        if name is None or (runs / name).exists():
            continue
        place = ["--run", name, "--runs-dir", str(runs), "--data-dir", str(data), "--device", "cpu", "--json"]
        small = CODEC if name == SYSTEMS[preset] else words(name)
        result = CliRunner().invoke(app, ["train", "--preset", name, *place, *small], catch_exceptions=False)
        assert result.exit_code == 0, result.output
