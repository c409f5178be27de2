"""The model: patch Transformer, joint loss, fast sampler. An hour to read, in this order.

document.py        the data types: Document, Picture, Batch
blocks.py          how the tokens of a picture stand in the sequence
batch.py           several documents in one row
mask.py            who may look at whom
parts.py           the interfaces: codec, head, backbone
model.py           words and image tokens in one sequence
loss.py            the joint loss
noise.py           the path from clean to noise
codes.py           codes drawn from logits, in order or as they become known
layers.py          rotary positions, attention
heads/             what it means to learn and to draw patches
backbones/         (B, L, D) -> (B, L, D)
text_tokenizer.py  bytes, or learned pieces, and four special tokens
solvers.py         Euler, Heun, DPM-Solver++(2M)
denoising.py       noise and drawing of networks that denoise
cache.py           every position of a document computed once
graphs.py          the steps of a drawing on a GPU, each one launch
drawing.py         one picture at the end of each document
generate.py        prompt -> text until <image>, a picture, on
reference.py       the same generator without the cache
inversion.py       to noise by the model's ODE, and back
flops.py           floating-point operations, by formula
"""
