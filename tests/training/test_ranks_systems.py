"""Two ranks with each head, codec and baseline of docs/systems.md: the losses are those of one rank."""

import pytest
from forking import together
from rank_runs import FSDP, observed, same_losses
from systems import SYSTEMS, trained, words

from rawmm_cli.config import presets
from rawmm_cli.runs import checkpoint, records

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("one_thread")]
SHARDED = set(SYSTEMS) - {
    "digits",
    "digits-patch1",
    "digits-pixels",
    "digits-query",
}  # of heads that others have
WHOLE = ("digits-next", "digits-kl", "digits-unet")  # a frozen codec of integers, of vectors, and a baseline


def chosen(name, runs, *more):
    """Settings of a short run: 4 steps whose documents two ranks can share."""
    codec = [f"codec.run={runs / SYSTEMS[name]}"] if SYSTEMS[name] else []
    short = ("train.batch=12", "train.documents=48", "train.log_every=12", "train.save_every=48")
    return presets.load(name, [*words(name), "train.optimizer=adamw", *short, *codec, *more])


@pytest.mark.parametrize(
    "name, more", [(n, FSDP) for n in SYSTEMS if n in SHARDED] + [(n, ()) for n in WHOLE], ids=str
)
def test_the_losses_are_those_of_one_rank(name, more, once, few_digits, tmp_path):
    runs = once(f"system {name}", lambda folder: trained(name, folder, few_digits))
    alone = once(
        f"a rank {name}",
        lambda folder: together(1, observed, chosen(name, runs), few_digits, folder / "run"),
    )
    expected, run = records.read(alone / "run" / "records.jsonl"), tmp_path / "run"
    assert len(expected) == 4
    for one in together(2, observed, chosen(name, runs, *more), few_digits, run):
        assert isinstance(one, dict), one
        same_losses(one["records"], expected)
    assert (checkpoint.latest(run) / "model").is_dir() == bool(more)
