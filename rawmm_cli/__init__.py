"""rawmm: one Transformer that reads and writes text and images, images as raw pixel patches."""

__version__ = "0.1.0"
