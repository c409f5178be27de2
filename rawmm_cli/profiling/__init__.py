"""What is known before a run is started.

estimate.py  parameters, FLOPs, memory and time of a run
bench.py     measured rates: training, sampling, data
doctor.py    what this machine can do, tried
"""
