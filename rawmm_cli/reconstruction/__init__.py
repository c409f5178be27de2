"""What codecs lose, on the user's pictures.

choices.py      words after --codec, and their round trips
suite.py        published tokenizers: words, table, reported figures
round_trip.py   pictures of any size through a codec and back
in_turn.py      codecs that are loaded one at a time
controls.py     controls: fewer pixels, and image files of as many bits
keys.py         what a codec is, as a hash
ocr.py          text on pictures, by engines that work offline
measure.py      pictures before and after a codec, in numbers
texts.py        text before and after codecs
kept.py         measurements of earlier commands
reconstruct.py  round trips of pictures through codecs, measured
results.py      results as dataclasses, and their JSON
summary.py      results over all pictures, as rows
table.py        rows, as a table for the terminal
findings.py     rows, as sentences
files.py        originals, reconstructions and error maps, as files
code_bits.py    nominal, used and conditional bits of a tokenizer's codes
code_model.py   a Transformer over codes: their conditional bits
"""
