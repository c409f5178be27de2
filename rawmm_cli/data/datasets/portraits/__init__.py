"""Drawn portraits with exact attributes: any number, without a download.

attributes.py  the values of every attribute, and those of portrait n
captions.py    captions of a portrait, and what a caption says
drawing.py     the pixels of a portrait, and the source
"""
