"""`rawmm entropy-budget`: the bits that pictures hold, and the bits that tokenizers and models carry.

group.py      the command without a sub-command: the formula, and the sub-commands as options
formula.py    L log2 V >= H, solved, printed and drawn
images.py     entropy-budget images: upper bounds of H by lossless codecs
codec.py      entropy-budget codec: bits of a tokenizer's codes
model.py      entropy-budget model: bits a byte of pictures and text under a model
audit.py      entropy-budget audit: whether a model's input is lossless
published.py  entropy-budget catalogue and anchors: published figures, with sources
common.py     options and notes that these files share
"""
