"""Tokens of a codec, kept on disk with the pictures of a prepared set.

    data/NAME/codes/HASH/train.npy      tokens of all pictures in the order of the rows, memory-mapped:
    data/NAME/codes/HASH/held_out.npy   (tokens, G) integers, or (tokens, P) fp32 numbers
    data/NAME/codes/HASH/codes.json     which codec and which set; over all of these MANIFEST.json

HASH is the beginning of the SHA-256 of the codec's weights. A set that is prepared again has none.

keeping.py  a codec and a set -> its tokens on disk
kept.py     tokens on disk -> those of a picture
"""
