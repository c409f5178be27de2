"""Systems compared on equal terms: the same data, seeds and budget, with error bars.

results.py       cells -> results.json
differences.py   which differences are real: paired bootstrap over seeds and pictures, Holm's correction
answer.py        the answer in sentences
"""
