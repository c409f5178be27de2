"""What a person asks for -> files.

request.py  prompts, pictures, seed and settings of a person, checked without torch
session.py  a model answers a request: every command draws and writes through `run`
foreign.py  what of a request is outside of what the model has seen
prompt.py   text and pictures -> a document, and back
files.py    documents -> PNG, GIF, sheet, JSON
tune.py     the best times of few steps, by the model's own many
studio.py   the server of the local page
"""
