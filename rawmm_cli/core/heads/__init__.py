"""What it means to learn and to draw image tokens; one head a file, none knows another.

diffusion.py       noised patches: the loss on the rectified path
autoregressive.py  codes one after the other
masked.py          codes are hidden, said and drawn in a few steps, in any order
scales.py          codes scale by scale, from coarse to fine
reading.py         pictures are read and never drawn
"""
