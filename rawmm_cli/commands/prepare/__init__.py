"""`rawmm prepare`: sets on disk, and the tokens of their pictures.

command.py  a source -> a prepared set
summary.py  what is printed of it
verify.py   whether a prepared set is as it was prepared
codes.py    a prepared set and a codec -> its tokens, kept with it
"""
