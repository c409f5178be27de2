"""Estimates and measurements before a run.

estimate.py  parameters, FLOPs, memory and time of a run
sizes.py     how much a step has to do
cpu.py       memory and time of a step on a CPU
gpu.py       memory and time of a step on a GPU
cards.py     graphics cards, as their makers publish them
bench.py     measured rates: training, sampling, data
doctor.py    what this machine can do, by trial
software.py  what is installed: libraries, a C++ compiler
features.py  which features work, and how to add the others
"""
