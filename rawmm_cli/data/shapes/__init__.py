"""Sizes of pictures before and after `--size`: what a crop cuts off, and how shapes change.

figures.py    sizes as they are; what fitting does to them, in numbers and sentences
training.py   what a run says of the shapes of its pictures
card.py       card.json as it is read back, with what it says of sizes
originals.py  sizes and examples of the pictures of a source, kept beside the rows that are made of them
"""
