"""Pixels <-> image tokens. Each codec is one file, takes plain numbers and knows no other.

base.py           pixels in and out of codecs
raw.py            raw patches, exact to the bit
convolutional.py  the encoder and decoder that learned codecs share
quantizers.py     latents <-> integers: VQ, FSQ, LFQ, residual VQ
discrete.py       encoder, quantizer, decoder
kl.py             continuous latents
query.py          a row of learned queries in place of a grid
pretrained.py     ready-made codecs of diffusers and transformers
adapter.py        any other codec, by a few lines of the user's own
"""
