"""Codecs that others trained. Each file takes published weights by their published names; sizes follow from
the weights. docs/choose-a-tokenizer.md has the table; `runs/public.py` fetches and opens.

families.py      classes of diffusers and transformers, with one interface
model.py         a model of one of them, as a codec
weights.py       weights of a checkpoint, by their names
vqgan.py         LlamaGen, Chameleon and IBQ, as VQModel of diffusers
emu3.py          Emu3's own files, as Emu3VQVAE of transformers
layers.py        layers of the next three
maskgit.py       MaskGIT's VQGAN
titok.py         TiTok
open_magvit2.py  Open-MAGVIT2
cosmos.py        Cosmos' TorchScript programs
"""
