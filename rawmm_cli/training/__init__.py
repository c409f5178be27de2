"""The two loops, and what they step.

train.py        the training loop of a model: read this first
train_codec.py  the training loop of a codec
state.py        what a run is between two steps: restore, save, lock, signals
codec_state.py  the same of a codec
compile.py      compiled layers, recomputed layers
optimizer.py    AdamW, Muon, learning rate
ema.py          averaged weights
posthoc.py      averages of any width from snapshots
adversary.py    the discriminator of a VQ-GAN
preview.py      samples and captions while training
trackers.py     TensorBoard, Weights & Biases, trackio
"""
