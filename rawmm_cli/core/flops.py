"""Floating-point operations of a model, by formula: a multiplication and an addition are two.

Counted are the matmuls (linear layers and the two products of attention, dense L x L as the dense mask
computes them); what is elementwise is not, as is the custom (Chowdhery et al. 2022, arXiv 2204.02311,
appendix B). A linear layer from a to b costs 2 a b a position; its backward pass costs twice as much, once
for the input and once for the weight. `flop_counter` of torch counts the same (tested)."""

from ..config.model import Config

TIME_FEATURES = 64  # of the diffusion head's clock


def layer(config: Config) -> tuple[int, int]:
    """(weights of the linear layers of one layer, width of its keys and values together over all heads)."""
    b = config.backbone
    if b.kind == "gau":
        gated = b.expansion * b.width
        return b.width * (2 * gated + b.key) + gated * b.width, b.key + gated
    return b.width * 3 * b.width + b.width**2 + 3 * b.width * b.hidden, 2 * b.width


def forward(
    config: Config, rows: int, length: int, pictures: int, patches: int, predicted: int
) -> dict[str, int]:
    """FLOPs of one pass over `rows` x `length` positions with so many pictures, patches and predicted tokens,
    by part."""
    width, values = config.backbone.width, 3 * config.codec.patch**2
    weights, mixed = layer(config)
    narrow = config.head.bottleneck
    into = values * width if narrow is None else (values + width) * narrow
    return {
        "backbone": config.backbone.depth * 2 * rows * length * weights,
        "attention": config.backbone.depth * 2 * rows * length**2 * mixed,
        "image": 2 * patches * (into + width * values) + 2 * pictures * (TIME_FEATURES * width + width**2),
        "text": 2 * predicted * width * config.text_tokenizer.size,
    }


def training(config: Config, batch) -> int:
    """FLOPs of forward and backward of one batch: three times the forward pass, but for gradients that nobody
    asks for (of the clean patches and of the times)."""
    rows, length = batch.tokens.shape
    return step(config, rows, length, len(batch.pictures.drawn), len(batch.patch_at), len(batch.predict))


def step(config: Config, rows: int, length: int, pictures: int, patches: int, predicted: int) -> int:
    """The same from sizes."""
    width, values, narrow = config.backbone.width, 3 * config.codec.patch**2, config.head.bottleneck
    nobody_asks = patches * values * (width if narrow is None else narrow) + pictures * TIME_FEATURES * width
    return 3 * sum(forward(config, rows, length, pictures, patches, predicted).values()) - 2 * nobody_asks


def muon(config: Config) -> int:
    """FLOPs of one update by Muon: five Newton-Schulz iterations of every hidden matrix. Not part of the
    model's."""
    return sum(newton_schulz(shape) for shape in matrices(config))


def newton_schulz(shape: tuple[int, int], steps: int = 5) -> int:
    """FLOPs of one matrix."""
    small, large = min(shape), max(shape)
    return steps * (2 * 2 * small * small * large + 2 * small**3)


def matrices(config: Config) -> list[tuple[int, int]]:
    """Shapes of all hidden matrices."""
    b = config.backbone
    gated = getattr(b, "expansion", 0) * b.width
    one = (
        [(2 * gated + b.key, b.width), (b.width, gated)]
        if b.kind == "gau"
        else [(3 * b.width, b.width), (b.width, b.width), (2 * b.hidden, b.width), (b.width, b.hidden)]
    )
    return one * b.depth
