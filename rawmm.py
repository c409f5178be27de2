"""rawmm as a Python library: docs/library.md. The command line is in `rawmm_cli.cli`."""

from rawmm_cli import __version__
from rawmm_cli.library import (
    Reconstruction,
    Sample,
    bits,
    budget,
    caption,
    drawing,
    load,
    loss,
    read_image,
    reading,
    reconstruct,
    sample,
    save_image,
)
from rawmm_cli.system.errors import CheckpointError, ConfigError, DataError, RawmmError

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "RawmmError",
    "Reconstruction",
    "Sample",
    "__version__",
    "bits",
    "budget",
    "caption",
    "drawing",
    "load",
    "loss",
    "read_image",
    "reading",
    "reconstruct",
    "sample",
    "save_image",
]
