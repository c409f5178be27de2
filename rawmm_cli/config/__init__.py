"""Every setting, and what is built from it.

choices.py    the words among which settings choose
fields.py     what settings are made of
data.py       settings of what is trained on
model.py      settings of a model and its training
heads.py      settings of heads
baselines.py  settings of networks that know no sequence
tokens.py     settings of what turns pictures into tokens inside a model
together.py   which settings of a model go together
codecs.py     settings of a codec that learns, and its training
learned.py    the kinds of codecs that learn
presets.py    presets; defaults < preset < key=value
facts.py      what settings follow from: facts of the sets
rules.py      the rules by which settings follow from a set
automatic.py  settings that are `auto`, and what they become
comparison.py settings of a comparison of systems
explain.py    what is wrong with a setting, in one line
yaml_text.py  YAML without surprises
enough.py     how much training makes a model at all
build_codec.py  a codec that learns
build.py      settings -> objects; the only file that knows all parts
"""
