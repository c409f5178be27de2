"""What is known before a run is started.

estimate.py  parameters, FLOPs, memory and time of a run
bench.py     measured rates: training, sampling, data
doctor.py    what this machine can do, tried
software.py  what is installed: libraries, a C++ compiler
features.py  what follows: what works, and what adds the rest
"""
