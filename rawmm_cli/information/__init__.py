"""Bits: what tokens can hold, what pictures need, what both have under a model.

budget.py        L log2 V >= H, in exact integers
numerals.py      numbers of any size, parsed and printed
catalogue.py     published tokenizers and entropies, with sources
lossless.py      lossless codecs of single images, and mosaics of small ones
bounds.py        upper bounds of the bits of pictures, by these codecs
picture_bits.py  the budget for the user's pictures
likelihood.py    bits of pictures under a model: variational bound, probability-flow ODE
exact_bits.py    exact bits of pictures under a model that writes codes of pixels
masked_bits.py   a bound on them under a model that says masked codes
flow_bits.py     bits of pictures under a flow, by its density
image_bits.py    bits of pictures under any model
text_bits.py     bits of text under a model
model_bits.py    bits of pictures and of text under one model
audit.py         whether the input of a model is lossless, bit for bit
"""
