"""`make gpu-check`: whether rawmm works on an NVIDIA GPU, and how fast, in one command of a few minutes.

__main__    options, which parts run and when, how long each may take
processes   a part as a process: its output, its time limit, its end
report      gpu.json and gpu.md
parts       what the parts share: options, results that outlive them, `rawmm` in a process
machine     card, driver, versions
sets        prepared sets for the other parts
warm        compiled code for the other parts, in a cache that they share
tests       the tests of tests/cuda
ranks       one rank through NCCL and FSDP2, two ranks on one card
train       speed of training, swept over masks, compilation and batches
kernels     steps by kernel
gaps        when the GPU waits, and what the host does meanwhile
sampling    speed of drawing and writing
estimate    `rawmm train --dry-run --card` beside what was measured
learn       short trainings, evaluated
"""
