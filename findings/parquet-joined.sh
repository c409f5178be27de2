#!/bin/sh
# Two Parquet files joined by `cat` are read without an error: rows of the first, as many as the second has.
#
# Expected: an error, or the rows of one of the two files.
# Seen:     pyarrow takes the footer of the second file, whose offsets count from the beginning of the joined
#           one. Where the pages lie at the same places, the rows of the first file come under the footer of
#           the second; where they do not, there is an error about a page.
# Matters:  joining parts with `cat` works for CSV, JSON Lines and gzip. Columns of fixed width (labels,
#           embeddings) then repeat the first part in the place of the second.
# Versions: pyarrow 26.0.1
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --no-compile pyarrow==26.0.1
venv/bin/python - <<'PYTHON'
import sys

import pyarrow as pa
import pyarrow.parquet as pq

print("pyarrow", pa.__version__)


def joined(first, second):
    """Labels that are read from two files that were joined, or the type of the error."""
    with open("joined.parquet", "wb") as whole:
        for labels in (first, second):
            pq.write_table(pa.table({"label": pa.array(labels, pa.int64())}), "part.parquet")
            whole.write(open("part.parquet", "rb").read())
    try:
        return pq.read_table("joined.parquet")["label"].to_pylist()
    except OSError as error:
        return type(error).__name__


same, other = joined([1, 2, 3], [7, 8, 9]), joined(list(range(1000)), [7, 8, 9])
print(f"[1, 2, 3] and [7, 8, 9]: expected an error or [7, 8, 9], seen {same}")
print(f"1,000 rows and [7, 8, 9]: {other}")
sys.exit(0 if same == [1, 2, 3] and other == "OSError" else "changed: stated [1, 2, 3] and OSError")
PYTHON
