"""Systems compared on equal terms: the same data, seeds and budget, with error bars.

cells.py         what a comparison consists of: a cell is a system, a seed and a budget
checks.py        what can be wrong with it, found before anything is trained
orders.py        tasks: what the process of a cell has to do
cell.py          a cell worked through, in a process of its own
stages.py        its stages: codec, train, search, measure
learn.py         its trainings: ordinary runs
search.py        settings of drawing, and the learning rate: as many trials for every system
split.py         the held-out split in two: for the search, and for the measurement
measure.py       a trained model, measured
codec_pictures.py    what the codec of a system leaves of some pictures, for the page
launch.py        cells one after the other, side by side, or on a cluster
estimates.py     how long it takes, how many FLOPs, how much disk, before it starts
progress.py      where the cells stand, and how long it takes to the end
results.py       the form of results.json
gather.py        cells -> results.json
differences.py   which differences are real: paired bootstrap over seeds and pictures, Holm's correction
answer.py        the answer in sentences
"""
