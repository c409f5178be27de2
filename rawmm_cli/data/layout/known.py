"""Sets of the hub that have a name of their own in rawmm, and their terms."""

from dataclasses import dataclass

from ...system.errors import ConfigError

CELEBA = """CelebA and CelebA-HQ are for non-commercial research only. No portion of the pictures, nor data \
derived from them, may
be used commercially, published or passed on; copies within one organisation, at one site, are allowed. The \
pictures come from the
Internet and do not belong to the authors of the data set. Terms: https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"""
FFHQ = """FFHQ: every picture has its author's licence (CC BY, CC BY-NC, public domain, CC0, US Government \
works); the set as a
whole is CC BY-NC-SA 4.0 (NVIDIA): non-commercial, with credit, under the same licence. Terms: https://github.com/NVlabs/ffhq-dataset"""
IMAGENET = """ImageNet: for non-commercial research and educational purposes only, under the terms of \
access of image-net.org."""


@dataclass(frozen=True)
class Known:
    """A set that has a name of its own in rawmm."""

    repo: str
    licence: str
    terms: str = ""  # shown before anything is fetched
    template: str | None = None  # makes captions of classes, where the set has no captions
    size: int | None = None  # as in `items.Source`


KNOWN = {
    "celebahq": Known(
        "Ryan-sjtu/celebahq-caption", "non-commercial research only, no redistribution", CELEBA, size=128
    ),
    "celebahq plain": Known(
        "korexyz/celeba-hq-256x256",
        "non-commercial research only, no redistribution",
        CELEBA,
        "a portrait of a {label} person",
        128,
    ),
    "ffhq": Known("merkol/ffhq-256", "CC BY-NC-SA 4.0 and each author's own", FFHQ),
    "mnist": Known("ylecun/mnist", "CC BY-SA 3.0 (LeCun, Cortes, Burges)", template="the digit {label}"),
    "cifar10": Known(
        "uoft-cs/cifar10", "unknown (Krizhevsky 2009; research use)", template="a photo of a {label}"
    ),
    "imagenet64": Known(
        "benjamin-paine/imagenet-1k-64x64",
        "non-commercial research and education",
        IMAGENET,
        "a photo of a {label}",
    ),
}


def of_name(name: str, variant: str | None) -> Known:
    """The set of that name, or the repository that it names. Raises ConfigError."""
    if name.startswith("hf:"):
        repo = name.removeprefix("hf:")
        if variant is not None:
            raise ConfigError("--variant is for celebahq")
        if repo.count("/") != 1 or not all(repo.split("/")):
            raise ConfigError(f"'{name}' names no set; allowed: hf:OWNER/NAME")
        return Known(repo, "see its page")
    known = KNOWN.get(f"{name} {variant}" if variant else name)
    if known is None:
        raise ConfigError(f"{name} has no variant '{variant}'; allowed: plain (celebahq)")
    return known
