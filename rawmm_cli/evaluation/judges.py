"""Judges: small classifiers of real pictures, one answer for each attribute, that never saw the model they
judge.

A convolutional network with one linear output an attribute (LeCun et al. 1998 in spirit: strided
convolutions, then one hidden layer). Its training pictures are drawn for it, and its accuracy on held-out
ones is part of every result: an attribute counts only where the judge itself is right on RELIABLE of them.
Its hidden layer also gives the features in which pictures are compared (`kid`)."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.images import fit
from ..data.prepared import Prepared
from ..metrics import features
from ..system import disk
from ..system.disk import open_file
from ..system.errors import DataError
from ..system.stored import Shape, read_json

RELIABLE = 0.97
FEATURES, EPOCHS, BATCH, CHUNK = 256, 14, 128, 500


class _Facts(Shape):
    size: Annotated[int, Field(ge=1, le=1024)]
    values: dict[str, list[str]]
    accuracy: dict[str, float]


class Judges(nn.Module):
    """Pictures (n, 3, H, W) uint8 of one size -> for each attribute, which of its values."""

    def __init__(self, size: int, values: dict[str, list[str]]):
        super().__init__()
        self.size, self.values, self.accuracy = size, values, {}
        stride = 1 if size < 48 else 2  # in a small picture two pixels are a mouth
        sides = min(4, max(1, size // (8 * stride)))
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 32, 5, stride, 2),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(64, 128, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(128, 128, 3, 2, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(sides),
            nn.Flatten(),
            nn.LazyLinear(FEATURES),
            nn.ReLU(),
        )
        self.outputs = nn.ModuleDict(
            {name: nn.Linear(FEATURES, len(known)) for name, known in values.items()}
        )
        self.features(torch.zeros(1, 3, size, size, dtype=torch.uint8))  # gives the lazy layer its shape

    def features(self, pictures: Tensor) -> Tensor:
        """Pictures (n, 3, H, W) uint8 -> (n, FEATURES)."""
        return self.trunk((pictures.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last))

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> tuple[dict[str, list[str]], Tensor]:
        """-> values of each attribute (n each), and features (n, FEATURES)."""
        features = torch.cat([self.features(part) for part in pictures.split(CHUNK)])
        answers = {
            name: [self.values[name][n] for n in output(features).argmax(-1).tolist()]
            for name, output in self.outputs.items()
        }
        return answers, features

    @property
    def reliable(self) -> list[str]:
        """Attributes that count."""
        return [name for name, right in self.accuracy.items() if right >= RELIABLE]


def pixels(data: Prepared, rows: Iterable[int]) -> Tensor:
    """Pictures of these rows of a set of one size -> (n, 3, H, W) uint8."""
    return torch.stack([data.image(n) for n in rows])


def squares(pictures: Sequence[Tensor], side: int) -> Tensor:
    """Pictures (3, H, W) uint8 as judges of squares see them, (n, 3, side, side): of others the largest
    square in the centre."""
    return torch.stack([_square(one, side) for one in pictures])


def _square(picture: Tensor, side: int) -> Tensor:
    if tuple(picture.shape[1:]) == (side, side):
        return picture
    return torch.from_numpy(fit(picture.permute(1, 2, 0).numpy(), side, "center", enlarge=True)).permute(
        2, 0, 1
    )


def learn(train: Prepared, held_out: Prepared, seed: int = 0) -> Judges:
    """Judges of every attribute in the sets; their `accuracy` is measured on the held-out one."""
    known, truth = ([data.attributes(n) for n in range(len(data))] for data in (train, held_out))
    judges = fitted(pixels(train, range(len(train))), known, seed)
    answers, _ = judges(pixels(held_out, range(len(held_out))))
    judges.accuracy = {
        name: float(np.mean([attributes[name] == answer for attributes, answer in zip(truth, answers[name])]))
        for name in judges.values
    }
    return judges


def fitted(pictures: Tensor, known: list[dict[str, str]], seed: int = 0) -> Judges:
    """Judges trained on square pictures (n, 3, S, S) uint8 and their attributes, not yet measured."""
    values = {name: sorted({attributes[name] for attributes in known}) for name in known[0]}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        judges = Judges(pictures.shape[-1], values).to(memory_format=torch.channels_last)
        _fit(judges, pictures, known)
    return judges


def _fit(judges: Judges, pictures: Tensor, known: list[dict[str, str]]) -> None:
    targets = {
        name: torch.tensor([values.index(attributes[name]) for attributes in known])
        for name, values in judges.values.items()
    }
    optimizer = torch.optim.AdamW(judges.parameters(), lr=1e-3, weight_decay=0.02)
    steps = EPOCHS * (len(known) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=max(2, steps))
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(known)).split(BATCH)[: len(known) // BATCH]:
            features = judges.features(_augmented(pictures[rows]))
            loss = sum(
                F.cross_entropy(output(features), targets[name][rows])
                for name, output in judges.outputs.items()
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def _augmented(pictures: Tensor) -> Tensor:
    """A little noise, and a shift of at most a pixel: pictures that a model draws are not as clean as real
    ones."""
    down, right = torch.randint(-1, 2, (2,)).tolist()
    noise = 6 * torch.rand(len(pictures), 1, 1, 1) * torch.randn(pictures.shape)
    return (torch.roll(pictures, (down, right), (2, 3)) + noise).round().clamp(0, 255).to(torch.uint8)


def save(judges: Judges, path: Path) -> None:
    """`path`.safetensors, then `path`.json."""
    save_file(
        {name: tensor.contiguous() for name, tensor in judges.state_dict().items()},
        path.with_suffix(".safetensors"),
    )
    facts = {"size": judges.size, "values": judges.values, "accuracy": judges.accuracy}
    disk.write_json(path.with_suffix(".json"), facts)


def load(path: Path) -> Judges | None:
    """Judges that `save` wrote, or None where the files are missing or damaged."""
    try:
        facts = read_json(path.with_suffix(".json"), _Facts, DataError, "")
        judges = Judges(facts["size"], facts["values"])
        open_file(path.with_suffix(".safetensors")).close()
        judges.load_state_dict(load_file(path.with_suffix(".safetensors")))
    except (DataError, OSError, ValueError, KeyError, RuntimeError, SafetensorError):
        return None
    judges.accuracy = facts["accuracy"]
    return judges.to(memory_format=torch.channels_last)  # as they were trained: the same to the bit


def kid(one: Tensor, other: Tensor) -> float:
    """KID of features (n, d) and of real ones (m, d), after a scale that makes the real ones' mean square 1:
    what the judges' last layer gives has no scale of its own."""
    scale = other.double().square().mean().sqrt()
    return features.kid(one.double() / scale, other.double() / scale)
