"""What a run leaves on disk.

checkpoint.py  save, verify, sweep
loading.py     from a run to a model, ready for use
codec.py       a codec, ready to use
public.py      published tokenizers by name: fetched, checked, opened
sharded.py     safetensors written by several ranks
records.py     records.jsonl
lock.py        who trains in a run folder
folder.py      a run folder, read without torch
tuned.py       sampler.json: grids of few steps
familiar.py    how usual a text is to a model: bits of words; thresholds
looks.py       how usual a picture is to a model: its distance from those of training
prompts.py     prompts to offer, from captions
seen.py        seen.json: what a model has seen, and what is outside of that
models.py      runs and exported models, ready to sample
abilities.py   what a model can do, checked before it is asked for it
model_card.py  the README of an exported model
sheets.py      drawings and captions that an evaluation leaves for the report
"""
