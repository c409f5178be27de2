"""`rawmm prepare SET --codec RUN`: the tokens of all pictures of a set, kept with it, so that training does
not encode."""

from pathlib import Path

from ...system.activity import doing
from ...system.threads import use_cpu
from ..screen import Bar, emit, notify


def keep(folder: Path, run: str, runs_dir: Path, json: bool) -> None:
    """Encode the pictures of a prepared set with the codec of a run, and print what is kept."""
    with doing("loading the codec"):
        use_cpu()
        from ...data import prepared
        from ...data.codes import keeping
        from ...runs import codec as codecs
        from ...system import machine
        from ...system.figures import counted, size

        splits = {name: prepared.load(folder, name) for name in prepared.SPLITS}
        codec, settings, digest = codecs.with_hash(runs_dir, run, machine.device("auto"))
    of = {"run": run, "hash": digest}
    with Bar("encoding", keeping.pictures(splits)) as progress:
        facts = keeping.keep(folder, splits, codec, settings, of, lambda done: progress(done, 0))
    if json:
        return emit(facts)
    what = "were kept already" if facts["kept_before"] else "are kept"
    of_pictures = counted(sum(facts["pictures"].values()), "picture")
    notify(
        f"{counted(facts['tokens'], 'token')} of {of_pictures} {what} in {facts['folder']}, "
        f"{size(facts['bytes'])}; training with codec.run={run} reads them"
    )
