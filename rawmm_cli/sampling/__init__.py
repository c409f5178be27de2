"""What a person asks for -> files.

prompt.py  a prompt with pictures in it -> a document
files.py   documents that were drawn -> PNG, GIF, sheet, JSON
tune.py    the best times of few steps, by the model's own many
studio.py  the local page and its server (studio.html)
"""
