"""Sets that are read while training (`data/streamed.py`): what their blocks are, and what becomes of an item.

parquet.py     row groups of Parquet files
tar.py         samples of tar files
sourced.py     folders of pictures, sets saved by `datasets`
fitting.py     an item -> pixels, and the captions that fit
window.py      what one window of documents shows, as `data/stream.py` takes a set
"""
