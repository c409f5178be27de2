"""Estimates and measurements before a run.

estimate.py  parameters, FLOPs, memory and time of a run
bench.py     measured rates: training, sampling, data
doctor.py    what this machine can do, by trial
software.py  what is installed: libraries, a C++ compiler
features.py  which features work, and how to add the others
"""
