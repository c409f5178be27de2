"""The two loops, and what they step.

train.py         the training loop of a model: read this first
step.py          one step, in two halves: launched, then finished
train_codec.py   the training loop of a codec
state.py         a run between two steps: restore, save
codec_state.py   the same of a codec
auto.py          settings that are `auto`: of the set, or of a run that has begun
facts.py         facts of the sets, which they follow from
signals.py       Ctrl-C and its like: the step ends, the state is saved
clock.py         seconds of a run, speed, what follows the steps, what remains
watch.py         the start of a run, and what there is time for between its steps
compile.py       compiled layers, recomputed layers
optimizer.py     AdamW, Muon, learning rate
ema.py           averaged weights
posthoc.py       averages of any width from snapshots
adversary.py     the discriminator of a VQ-GAN
held_out.py      losses on held-out documents while training
preview.py       samples and captions while training
codec_preview.py reconstructions while training a codec
trackers.py      TensorBoard, Weights & Biases, trackio
"""
