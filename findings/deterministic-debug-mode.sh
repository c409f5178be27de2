#!/bin/sh
# torch's two switches for deterministic algorithms are said to be one, and differ in what the compiler does.
#
# Expected: `set_deterministic_debug_mode("error")`, "an alternative interface for use_deterministic_algorithms"
#           by its documentation, does what `use_deterministic_algorithms(True)` does.
# Seen:     both set the mode of the operations, but only the second one sets the compiler's
#           `torch._inductor.config.deterministic`, and only it unsets that again. Mixed, one switch is left on.
# Matters:  a run that asks for determinism by the first one compiles with choices that were timed on this machine, so
#           another machine may add in another order; and a library that switches back by the first one what a user
#           has switched on by the second leaves the compiler's choices restricted.
# Versions: torch 2.13.0
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --no-compile torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import torch
import torch._inductor.config as compiler

print("torch", torch.__version__)
seen = []


def note(what: str) -> None:
    seen.append((torch.are_deterministic_algorithms_enabled(), compiler.deterministic))
    print(f"{what:<45} operations {seen[-1][0]!s:<6} compiler {seen[-1][1]}")


note("at the start")
torch.use_deterministic_algorithms(True)
note("use_deterministic_algorithms(True)")
torch.use_deterministic_algorithms(False)
note("use_deterministic_algorithms(False)")
torch.set_deterministic_debug_mode("error")
note('set_deterministic_debug_mode("error")')
torch.use_deterministic_algorithms(True)
torch.set_deterministic_debug_mode("default")
note("switched on by one, off by the other")
expected = [(False, False), (True, True), (False, False), (True, False), (False, True)]
sys.exit(0 if seen == expected else "changed: the two switches act otherwise")
PYTHON
