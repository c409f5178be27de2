"""The machine: it knows no picture and no model.

errors.py       errors and exit codes
activity.py     what a command does now, for whoever shows it
interrupts.py   Ctrl-C, also while libraries load
seeds.py        randomness that is a function of a key
disk.py         files of others, opened with care; files of ours, whole
manifest.py     folders with checksums
stored.py       JSON that is read back: its shape
figures.py      numbers for people
numbers.py      numbers from people: kind and range
machine.py      device, precision; matmul rate, bandwidth, memory
threads.py      threads and memory of this process
sharing.py      how many threads, while other processes come and go
workers.py      worker processes, in order
launch.py       one command, several ranks
distributed.py  ranks: DDP, FSDP, what all agree on
"""
