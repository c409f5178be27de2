"""Image files -> pixels, where Pillow alone refuses a whole picture, or reads it as something else.

modes.py       a decoded picture of any mode -> RGB
extras.py      files without what their pixels do not need
png.py         PNG: one transparent value or colour
ppm.py         PPM: colour of more than 8 bits
tiff.py        TIFF: white as zero, samples of more than 8 bits, separate planes
signatures.py  what a file is by its first bytes, for messages
files.py       an open file -> RGB
"""
