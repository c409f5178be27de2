"""What all sources of files have in common: where their files are, what is left out, what they may name.

unused.py    what a source saw and left unused
inside.py    paths that the data name: never out of the set
files.py     the files below a folder
copies.py    sets of the hub, local copies of them, what a README lists
known.py     sets of the hub that have a name in rawmm, and their terms
splits.py    the splits that names of folders and files tell
captions.py  captions in values of the data
choosing.py  the column of every role
beside.py    captions in a file beside a picture
metadata.py  captions and classes in metadata.jsonl, .csv and .parquet
headers.py   names in a tar file, quickly
members.py   what a member of an archive may be
samples.py   members of an archive -> samples
fields.py    roles of the members of a sample
classes.py   classes by folder
archive_splits.py  the splits that archives bring along
instead.py   what people store in place of a picture
schemas.py   the Parquet files of a set as one table
split_column.py  the splits that a column tells, row by row
streams.py   files of a set that is streamed
"""
