#!/bin/sh
# Code that torch.compile kept on disk with AVX-512 is taken by a process that is limited to AVX2, and computes
# half of the numbers.
#
# Expected: another limit (ATEN_CPU_CAPABILITY=avx2) is compiled anew, or gives the same numbers.
# Seen:     the kept source walks over 16 numbers at a time and is compiled again with vectors of 8: every
#           second group of 8 is never written and holds what was in memory. No warning; on larger models it
#           is NaN in the first step. With an empty cache, or the other way round, all is right.
# Matters:  the limit is what people set to get the same results on two machines, or to find out whether wide
#           vectors are to blame; the answer that they get is wrong. Give each limit a TORCHINDUCTOR_CACHE_DIR.
# Versions: torch 2.13.0, on a CPU with AVX-512 and with a C++ compiler
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --no-compile torch==2.13.0 numpy
cat > compiled.py <<'PYTHON'
import torch

torch.set_num_threads(1)
numbers = torch.linspace(-1, 1, 4096)
compiled = torch.compile(lambda x: (2 * x + 1).exp())
right = torch.isclose(compiled(numbers), (2 * numbers + 1).exp()).sum().item()
print(torch.backends.cpu.get_cpu_capability(), right)
PYTHON
run() { TORCHINDUCTOR_CACHE_DIR="$folder/$1" ATEN_CPU_CAPABILITY="$2" venv/bin/python compiled.py; }
wide=$(run kept avx512)
case $wide in AVX512*) ;; *) echo "this CPU has no AVX-512 ($wide): the behaviour cannot be shown here"; exit 1 ;; esac
narrow=$(run kept avx2)
alone=$(run empty avx2)
echo "numbers of 4096 that are right, with AVX-512: ${wide#* }"
echo "with AVX2, an empty cache: ${alone#* }; with the cache of before: ${narrow#* } (expected 4096)"
[ "${wide#* }" = 4096 ] && [ "${alone#* }" = 4096 ] && [ "${narrow#* }" = 2048 ] || {
    echo "changed: another share of the numbers is right"
    exit 1
}
