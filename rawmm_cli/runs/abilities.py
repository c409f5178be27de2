"""What a model can and cannot do: checked before it is asked for it, in one line."""

from ..config.tokens import FrozenCodec, ShrunkCodec
from ..core.denoising import Denoising
from ..system.errors import ConfigError
from .models import Loaded


def diffusion_head(loaded: Loaded, what: str) -> Denoising:
    """The model's head. Raises ConfigError where it is of another kind, as `what` needs noise and times."""
    head, config = loaded.model.head, loaded.config
    if isinstance(head, Denoising):
        return head
    other = "head" if config.baseline is None else "baseline"
    raise ConfigError(
        f"{what} needs a diffusion head; {loaded.name} has {other}.kind = {getattr(config, other).kind}; "
        "choose another model"
    )


def check_lossless(loaded: Loaded, what: str) -> None:
    """Raise ConfigError where a codec loses some of a picture before the model sees it, as `what` is about
    all of it."""
    if isinstance(codec := loaded.config.codec, (FrozenCodec, ShrunkCodec)):
        size = loaded.config.data.size
        word = codec.run if isinstance(codec, FrozenCodec) else f"resize@{size // codec.factor}"
        raise ConfigError(
            f"{what} needs a model on raw patches; {loaded.name} has codec.kind = {codec.kind}, which loses "
            f"a part of every picture: `rawmm reconstruct --codec {word}` measures how much"
        )


def check_reads(loaded: Loaded, what: str) -> None:
    """Raise ConfigError where a model only draws pictures, and `what` asks it to read."""
    if (baseline := loaded.config.baseline) is not None:
        raise ConfigError(
            f"{what}: {loaded.name} draws and does not read pictures (baseline.kind = {baseline.kind} knows "
            "no sequence); leave it out, or choose another model"
        )


def check_draws(loaded: Loaded, what: str) -> None:
    """Raise ConfigError where a model only reads pictures, and `what` asks for drawings."""
    if not loaded.config.head.draws:
        raise ConfigError(
            f"{what}: {loaded.name} reads pictures and draws none (head.kind = {loaded.config.head.kind}); "
            "leave it out, or choose a model that draws"
        )


def check_paints(loaded: Loaded, what: str) -> None:
    """Raise ConfigError where a model writes codes in order, or is a flow, and `what` asks for a drawing on a
    picture."""
    if (baseline := loaded.config.baseline) is not None and not baseline.paints:
        raise ConfigError(
            f"{what} draws on a picture; {loaded.name} draws whole ones (baseline.kind = {baseline.kind}); "
            "choose one of head.kind=diffusion or masked"
        )
    if not getattr(loaded.config.head, "paints", True):
        raise ConfigError(
            f"{what} draws on a picture; {loaded.name} writes codes in order, each without knowing those "
            f"after it (head.kind = {loaded.config.head.kind}); choose one of head.kind=diffusion or masked"
        )
