"""`rawmm demo`: from pictures to one page that shows what a model draws and reads.

command.py  the command: options, and which of the two demos
own.py      own pictures: prepared, trained on, drawn, read, and through codecs
steps.py    steps of both
builtin.py  nothing to prepare: digits, the model inside the package, and with --long portraits
"""
