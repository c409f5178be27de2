"""Sources -> prepared sets -> documents.

decoding/      image files that Pillow alone refuses or misreads
images.py      image files in and out
items.py       what a source yields: items, not decoded
layout/        what sources of files have in common: splits, paths, what was not used
sources.py     name and options of a source -> the source in datasets/
columns.py     roles of the columns of a table
archives.py    members of tar and zip files, read safely
rows.py        an item -> a row of exact pixels, or the reason why there is none
shapes/        sizes before and after `--size`: what a crop cuts off, told
tables.py      Arrow files, memory-mapped
parts.py       rows on disk, in parts that appear whole or not at all
prepare.py     items -> rows by worker processes -> a prepared set
prepared.py    a prepared set on disk
codes/         tokens of a codec, kept with the pictures of a set
card.py        the card of a prepared set; verify
duplicates.py  pictures with identical pixels, or nearly so
entries.py     single documents of a prepared set, and contact sheets
pictures.py    pictures that are named on the command line: files, folders, prepared sets
shards.py      blocks of Parquet and tar files, on disk or elsewhere
streaming/     items of sets that are read while training: their files, their pixels
streamed.py    sets that are read while training
sets.py        the sets that the settings name, checked against the settings
stream.py      a prepared set -> documents in both directions
lengths.py     documents longer than train.length: an error, cut or left out
loader.py      the documents of a step, packed into batches
"""
