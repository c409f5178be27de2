"""What codecs throw away, on pictures of the user.

choices.py      words after --codec, and their round trips
round_trip.py   pictures of any sides through a codec and back
controls.py     fewer pixels, and image files of as many bits
ocr.py          text on pictures, by engines that work offline
reconstruct.py  pictures through codecs and back, measured
results.py      what was measured, as dataclasses, and its JSON
summary.py      codecs over all pictures, and in sentences
files.py        originals, what came back, and error maps, as files
code_bits.py    bits that a tokenizer has, uses, and is left with
code_model.py   a Transformer over codes: their conditional bits
"""
