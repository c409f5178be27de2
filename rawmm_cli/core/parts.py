"""The three interfaces of a model: codec, head, backbone. Parts are modules of torch that have these methods;
none derives from another, and none knows another. `config/build.py` puts them together.

    pixels --codec--> image tokens --head--> vectors --backbone--> vectors --head--> loss, or a picture

Letters: B rows, L positions in a row, D width; M pictures, N tokens of a picture, T positions of all pictures
of a batch; P values of a continuous token, V codes, G codes of a discrete token."""

from typing import Any, NamedTuple, Protocol

from torch import Tensor

from .blocks import Blocks
from .document import Condition, Corrupted, Known, Pictures


class Work(NamedTuple):
    """Multiplications of the matmuls of a part in one forward pass.

    position: for each position (in a head: of a picture). picture: for each picture. pair: for each pair of
    positions of a row. first_position, first_picture: those of them that multiply what needs no gradient, as
    the pixels are."""

    position: int = 0
    picture: int = 0
    pair: int = 0
    first_position: int = 0
    first_picture: int = 0


class Footprint(NamedTuple):
    """What a layer of a backbone occupies and moves, for estimates of memory and time.

    outputs: numbers that its matmuls produce for a position. wide: outputs of its first linear layer. heads,
    key: of attention. at_work: bytes for each of the outputs while the layer is computed. traffic: bytes that
    elementwise work, forward and backward, moves for each of them where layers are compiled. These two were
    fitted to measurements on two cores (`rawmm bench train` shows estimate and measurement). saved: numbers
    that a compiled layer keeps for its backward pass for a position, without its input and what attention
    keeps for pairs. moved: bytes for each of the outputs that compiled elementwise kernels read and write in
    bf16, forward and backward, without matmuls and scores. These two were counted on the graphs of
    torch.compile."""

    outputs: int
    wide: int
    heads: int
    key: int
    at_work: float
    traffic: float
    saved: int
    moved: float


class Prediction(NamedTuple):
    """What the network says while pictures are drawn, (M, n, ...) fp32, by classifier-free guidance (Ho and
    Salimans 2022, arXiv 2207.12598):

        guided = unconditional + scale (conditional - unconditional)

    conditional: behind the prompt. unconditional: behind none; the same tensor where nothing is guided. half:
    computed in bf16, as a network beside the sequence then is too."""

    guided: Tensor
    conditional: Tensor
    unconditional: Tensor
    scale: float
    half: bool = False


class Codec(Protocol):
    """Pixels <-> image tokens. Nobody else computes a size of one from a size of the other."""

    discrete: bool

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of an H x W picture. Raises ValueError for a size that does not fit."""
        ...

    def tokens(self, height: int, width: int) -> int:
        """Tokens of an H x W picture, N: one a place of the grid, or more (a codec of several scales)."""
        ...

    def encode(self, images: Tensor) -> Tensor:
        """(M, 3, H, W) uint8 -> (M, N, P) fp32, or (M, N, G) int64."""
        ...

    def decode(self, tokens: Tensor, rows: int) -> Tensor:
        """(M, N, P) or (M, N, G), in `rows` rows of the grid -> (M, 3, H, W) uint8."""
        ...


class ContinuousCodec(Codec, Protocol):
    """Tokens are vectors."""

    values: int  # numbers of a token, P


class DiscreteCodec(Codec, Protocol):
    """Tokens are integers."""

    vocabulary: int  # codes that there are, V
    codes: int  # integers of a token, G


class Head(Protocol):
    """What it means to learn and to draw image tokens. Its inputs and outputs have a row a position."""

    reads_ahead: bool  # the prediction of a token stands one position before it, the first at `<image>`

    def blocks(self, rows: int, columns: int) -> Blocks:
        """How a picture of these rows and columns stands in the sequence."""
        ...

    def corrupt(self, tokens: Tensor, pictures: Pictures) -> Corrupted:
        """Tokens of all pictures, (M N, P) or (M N, G) -> what the network sees and what it should say.

        Pictures that are read stay clean, at time 0, without loss; all that is random follows from keys."""
        ...

    def embed(self, inputs: Tensor, time: Tensor, pictures: Pictures) -> Tensor:
        """Inputs (T, ...) of pictures at times (M,), or (1,) for all -> (T, D)."""
        ...

    def condition(self, time: Tensor) -> Tensor | None:
        """Times (M,) or (1,) -> what the backbone is modulated by, (M, D) or (1, D); None: by nothing."""
        ...

    def output(self, hidden: Tensor, pictures: Pictures) -> Tensor:
        """Hidden vectors (T, D) where the predictions of `pictures` stand -> predictions (T, ...)."""
        ...

    def loss(self, prediction: Tensor, corrupted: Corrupted, pictures: Pictures) -> Tensor:
        """A mean over all positions of drawn pictures, fp32, so that micro-batches add up; 0 without any."""
        ...

    def work(self) -> Work:
        """Multiplications for a position of a picture, and for a picture."""
        ...

    def draw(
        self,
        predict: Any,
        keys: list[int],
        grid: tuple[int, int],
        drawing: Any = None,
        learned: tuple[int, int] | None = None,
        known: Known | None = None,
        watch: Any = None,
    ) -> Tensor:
        """Draw a picture for each of M keys -> tokens (M, N, P) or (M, N, G).

        predict(inputs, time, share, at) -> the Prediction of the positions `at`, a slice of the picture
        (default: all of it). inputs: (M, n, ...) of the positions at which the predictions stand: the same
        ones or, where the head reads ahead, one earlier each; the one before the first is `<image>`, which
        has no input. share: how far guidance acts, from 0 to 1. What was computed of the picture by earlier
        calls stays visible.

        drawing: the head's own settings, a frozen dataclass; None: its defaults. learned: rows and columns of
        the pictures that were learned, where they are others. known: what is drawn on; raises ConfigError in
        a head that cannot. watch(step, state, estimate), tokens both, is called as the drawing goes on."""
        ...


class Backbone(Protocol):
    """The network over the whole sequence."""

    layers: (
        Any  # ModuleList: compiled, recomputed and sharded one by one; each stores keys and values in a cache
    )
    conditional: bool  # whether it uses a condition; heads that give one, and they alone, go with it
    isolated: int  # first layers in which a picture sees itself alone; above 0, `mask` holds both masks
    strided: bool  # a picture with a block a position sees itself sparsely (`mask.py`)

    def forward(
        self, x: Tensor, position: Tensor, mask: Any, condition: Condition | None = None, cache: Any = None
    ) -> Tensor:
        """x (B, L, D) at positions (B, L, 3) = order, row, column, under a mask -> (B, L, D).

        condition: acts at positions of pictures alone, so that text does not depend on it. cache: one
        `cache.LayerCache` a layer, for documents that grow."""
        ...

    def work(self) -> Work:
        """Multiplications of all layers for a position, a picture, a pair of positions."""
        ...

    def footprint(self) -> Footprint:
        """What a layer occupies and moves."""
        ...
