"""The residual block that MaskGIT's and Open-MAGVIT2's networks share, with their published names."""

import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions without biases. own: whether a shortcut between widths is a 1x1 convolution of the
    branch itself, as in MaskGIT's published weights, and not of the input."""

    def __init__(self, inside: int, outside: int, own: bool = False):
        super().__init__()
        self.own = own
        self.norm1, self.norm2 = (nn.GroupNorm(32, width, eps=1e-6) for width in (inside, outside))
        self.conv1 = nn.Conv2d(inside, outside, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        if inside != outside:
            self.nin_shortcut = nn.Conv2d(outside if own else inside, outside, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        if hasattr(self, "nin_shortcut"):
            x = self.nin_shortcut(branch if self.own else x)
        return branch + x


def blocks(inside: int, outside: int, layers: int, own: bool = False) -> nn.Sequential:
    """`layers` blocks, the first of which changes the width."""
    return nn.Sequential(*[Block(inside if n == 0 else outside, outside, own) for n in range(layers)])
