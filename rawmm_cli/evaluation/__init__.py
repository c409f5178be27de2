"""How well a model draws and reads.

evaluate.py    drawings judged, held-out pictures read, held-out losses
judges.py      classifiers of attributes, trained on the prepared set
attributes.py  captions of portraits against drawings, and the other way round
"""
