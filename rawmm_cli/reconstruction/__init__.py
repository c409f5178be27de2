"""What codecs throw away, on pictures of the user.

choices.py      the word after --codec -> a round trip
controls.py     fewer pixels, and image files of as many bits
ocr.py          text on pictures, by engines that work offline
reconstruct.py  pictures through codecs and back, measured and kept
summary.py      codecs in sum, and in sentences
code_bits.py    bits that a tokenizer has, uses, and is left with
code_model.py   a Transformer over codes: their conditional bits
"""
