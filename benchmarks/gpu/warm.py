"""Compiled code of the configurations that `train` and `learn` measure, in the cache that all parts share.

It compiles while the tests run, and keeps no choice that was made by timing kernels beside them."""

import sys

from .parts import one_line, part
from .train import SETUPS, Setup


def main() -> None:
    """Take a few steps of each compiled configuration at the first batch size."""
    job, done = part("warm"), []
    if job.device == "cpu":
        return job.save(tables={})
    import torch
    import torch._inductor.config as inductor

    from rawmm_cli.config import presets
    from rawmm_cli.profiling import bench
    from rawmm_cli.system import machine
    from rawmm_cli.system.threads import use_cpu

    use_cpu()
    inductor.autotune_local_cache = False
    for setup in [one for one in SETUPS if one == Setup(one.preset, "dense", True, 64)]:
        torch._dynamo.reset()
        config = presets.load(setup.preset, [*setup.words(job.tiny), "train.workers=0"])
        try:
            bench.train(config, job.work / "none", machine.device(job.device), 3, sys.stderr.write)
            done.append(setup.name)
        except Exception as error:  # `train` will report it
            done.append(f"{setup.name}: {one_line(error)[:120]}")
        torch.cuda.empty_cache()
        job.say(f"{done[-1]} after {job.seconds - job.remaining:.0f} s")
        job.save(compiled=done)


if __name__ == "__main__":
    main()
