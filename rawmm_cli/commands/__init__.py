"""The commands: each parses its options, calls a room below, and prints. None does work of its own or imports
torch at the top.

common.py          options, names and folders that commands share
screen.py          notes, progress and the JSON object of --json
tables.py          tables on the terminal
prepare/           a source -> a prepared set; the tokens of its pictures, kept with it
show.py            documents of a prepared set
train.py           preset and key=value -> a run
dry_run.py         its settings and sizes, before it starts
evaluate.py        a run -> figures and report
report.py          a run as one HTML page
sample.py          prompt -> text and pictures
samples.py         samples on the screen
tune_sampler.py    the best time grid of few steps
studio.py          a local page to draw and read on
average.py         an average of another width, after training
export.py          a run -> a model of its own
checkpoint.py      which checkpoints are sound
compare.py         systems on equal terms, with error bars
reconstruct.py     pictures through codecs and back
entropy_budget/    bits: formula, pictures, codecs, models, published figures
bench.py           how fast this machine is
doctor.py          what works on this machine, and how to add the rest
presets.py         list and show presets
demo/              a page of what a model draws and reads: digits and portraits, or own pictures
"""
