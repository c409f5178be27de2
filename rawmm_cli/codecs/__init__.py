"""Pixels <-> image tokens. Each codec is one file, takes plain numbers and imports no other.

base.py           pixel ranges, positions, counts and tables of codes: what learned codecs share
raw.py            raw patches, exact to the bit
subpixels.py      a code a value of a pixel, exact to the bit
shrunk.py         raw patches of a picture with fewer pixels
convolutional.py  the encoder and decoder that learned codecs share
quantizers.py     latents <-> integers: VQ, FSQ, LFQ, residual VQ
discrete.py       encoder, quantizer, decoder
kl.py             continuous latents
multiscale.py     codes of several scales, and the quantizer over them
query.py          encoder and decoder by learned queries, in place of a grid
frozen.py         a codec that was trained, inside a model
pretrained.py     ready-made codecs of diffusers and transformers, from the hub or a folder
published/        codecs that others trained, by the names of their weights
adapter.py        any other codec, by an object of the user's own
"""
