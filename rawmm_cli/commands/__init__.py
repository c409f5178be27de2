"""The verbs of the command line: each parses, calls a room below, and prints. No work of their own, no torch
at import.

common.py          options, names and folders that all commands share
screen.py          notes, progress and the JSON object
tables.py          tables on the terminal
prepare.py         a source -> a prepared set
show.py            documents of a prepared set
train.py           preset and key=value -> a run
evaluate.py        a run -> figures and report
report.py          a run as one HTML page
sample.py          prompt -> text and pictures
tune_sampler.py    the best times of few steps
studio.py          a local page to draw and read on
average.py         an average of another width, after training
export.py          the model out of a run
checkpoint.py      which checkpoints are sound
reconstruct.py     pictures through codecs and back
entropy_budget/    bits: formula, pictures, codecs, models, published figures
bench.py           how fast this machine is
doctor.py          what works on this machine, and what adds the rest
presets.py         list and show presets
demo.py            the whole path: digits, then portraits
"""
