"""Baselines: networks that know no sequence. Each takes the place of a head, and its own network that of the
sequence: a picture is one position, and the caption enters as one vector, the backbone's state at `<image>`.
They draw and do not read.

whole.py    pictures that are one position each
unet.py     the U-Net of DDPM, a network of pictures, times and captions
denoiser.py it learns and draws as a diffusion head does
flow.py     the invertible flow of TarFlow, a network of pictures and captions
density.py  it learns the exact likelihood of pictures, and draws through its inverse
"""
