"""The attention mask, who may see whom: one rule, two forms.

Every position carries three integers: `document`, `block` and `private`. A query sees a key of the same
document whose block is not later, unless the key's block is private and not the query's own:

    document_q == document_k  and  block_k <= block_q  and  (not private_k  or  block_k == block_q)

A text token is a block of its own, a picture is one block (one block per patch for an autoregressive head).
That gives causal text, bidirectional pictures, prefix-LM and packed rows. `private` hides a noised picture
from what follows it. Padding is a document of its own (-1), so no row of the mask is empty and softmax stays
finite.

A fourth integer, `picture`, is 0 at text and differs for the pictures of a document. A backbone whose first
layers isolate pictures wants a second mask for them, in which a picture sees nothing but itself:

    allowed  and  (not picture_q  or  picture_q == picture_k)

Both then come together (`isolated`), and `by_layer` takes them apart.

A fifth integer, `row`, is the number of positions of a row of a picture that has a block a position, and 0
elsewhere. A backbone that is `strided` lets such a position see, of its own picture, the last `row` positions
and every `row`-th of those before them (Sparse Transformer, Child et al. 2019, arXiv 1904.10509, both
patterns in each layer): of R rows of l about N (l + R / 2) pairs in place of N^2 / 2."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .document import Labels

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask


def allowed(query: Labels, key: Labels) -> Tensor:
    """The rule itself, on labels that broadcast against each other -> bool."""
    same_document = query.document == key.document
    not_later = key.block <= query.block
    open_to_query = (key.private == 0) | (key.block == query.block)
    return same_document & not_later & open_to_query


def inside(query: Labels, key: Labels) -> Tensor:
    """Where an isolated layer lets a picture see: itself alone. Text sees everything."""
    return (query.picture == 0) | (query.picture == key.picture)


def near(query: Labels, key: Labels) -> Tensor:
    """Where a strided backbone lets a picture see: of itself, the last `row` positions and every `row`-th
    before them. It sees everything else."""
    behind, row = query.block - key.block, query.row.clamp_min(1)
    other = (query.row == 0) | (query.picture != key.picture)
    return other | (behind < row) | (behind % row == 0)


def rules(isolated: bool = False, strided: bool = False) -> list[Callable[[Labels, Labels], Tensor]]:
    """The rule of a backbone; isolated: two, that of isolated layers first."""

    def usual(query: Labels, key: Labels) -> Tensor:
        return allowed(query, key) & near(query, key) if strided else allowed(query, key)

    def alone(query: Labels, key: Labels) -> Tensor:
        return usual(query, key) & inside(query, key)

    return [alone, usual] if isolated else [usual]


def dense(query: Labels, key: Labels | None = None, isolated: bool = False, strided: bool = False) -> Tensor:
    """Labels (B, Q) and (B, L) -> (B, 1, Q, L) fp32 to add to the scores: 0 where allowed, -inf elsewhere.

    `key` defaults to the query's own labels. isolated: (B, 2, Q, L), the mask of isolated layers first. Added
    rather than selected by a bool, the compiled softmax of a CPU keeps its vector instructions: 6 times as
    fast forward, 14 times backward (`docs/log.md`)."""
    query, key = (
        Labels(*(label.int() for label in labels)) for labels in (query, query if key is None else key)
    )
    pair = (
        Labels(*(label[:, None, :, None] for label in query)),
        Labels(*(label[:, None, None, :] for label in key)),
    )
    free = torch.cat([rule(*pair) for rule in rules(isolated, strided)], 1)
    return torch.zeros(free.shape, device=free.device).masked_fill_(~free, float("-inf"))


def flex(query: Labels, key: Labels | None = None, isolated: bool = False, strided: bool = False) -> Any:
    """The same rule as a BlockMask of FlexAttention (PyTorch's `flex_attention`), which skips blocks that are
    empty. isolated: two of them, that of isolated layers first."""
    key = query if key is None else key
    masks = [_block_mask(rule, query, key) for rule in rules(isolated, strided)]
    return tuple(masks) if isolated else masks[0]


def _block_mask(rule: Callable[[Labels, Labels], Tensor], query: Labels, key: Labels) -> "BlockMask":
    from torch.nn.attention.flex_attention import create_block_mask

    def allows(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return rule(Labels(*(label[b, q] for label in query)), Labels(*(label[b, k] for label in key)))

    rows, queries = query.document.shape
    return create_block_mask(allows, rows, None, queries, key.document.shape[1], device=query.document.device)


def by_layer(mask: Any) -> tuple[Any, Any]:
    """The masks of isolated and of usual layers, of those that came together; twice the same where one
    came."""
    if isinstance(mask, tuple):
        return mask
    if isinstance(mask, Tensor) and mask.shape[1] == 2:
        return mask[:, :1], mask[:, 1:]
    return mask, mask
