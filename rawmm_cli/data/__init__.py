"""Sources -> prepared sets -> documents.

images.py      image files in and out
items.py       what a source gives: items, nothing decoded yet
sources.py     name of a source -> what datasets/ has for it
columns.py     which column of a table is what
archives.py    members of tar and zip files, read safely
rows.py        an item -> a row of exact pixels, or why not
tables.py      Arrow files, memory-mapped
prepare.py     items -> rows by worker processes, part by part
prepared.py    a prepared set on disk
card.py        what is in a prepared set; verify
duplicates.py  which pictures are the same, or nearly
entries.py     single documents of a prepared set, and contact sheets
pictures.py    pictures that a person names: files, folders, prepared sets
shards.py      blocks of Parquet and tar files, on disk or elsewhere
streamed.py    sets that are read while training
sets.py        the sets that the settings name, checked
stream.py      a prepared set -> documents in both directions
loader.py      which documents make up a step
"""
