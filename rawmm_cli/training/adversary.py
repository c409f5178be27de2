"""The patch discriminator of a VQ-GAN, and its losses (Esser et al. 2021, arXiv 2012.09841; Isola et al.
2017, arXiv 1611.07004).

It tells squares of real pictures from squares of reconstructions. Nothing in it is random and it keeps no
statistics, so as long as the codec does not hear it, the codec learns as if it were not there."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PatchDiscriminator(nn.Module):
    """Pictures (M, 3, H, W) in [-1, 1] -> a score for every square, higher for what looks real. Three
    halvings of the side."""

    def __init__(self, width: int = 32):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for channels in (width, 2 * width):
            layers += [
                nn.Conv2d(channels, 2 * channels, 4, 2, 1),
                nn.GroupNorm(8, 2 * channels),
                nn.LeakyReLU(0.2),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(4 * width, 1, 3, padding=1)).to(
            memory_format=torch.channels_last
        )

    def forward(self, pixels: Tensor) -> Tensor:
        return self.layers(pixels.contiguous(memory_format=torch.channels_last))


def hinge(real: Tensor, reconstructed: Tensor) -> Tensor:
    """The discriminator's loss: scores of real pictures above 1, others below -1 (Lim and Ye 2017, arXiv
    1705.02894)."""
    return (F.relu(1 - real).mean() + F.relu(1 + reconstructed).mean()) / 2


def fooled(reconstructed: Tensor) -> Tensor:
    """The codec's loss: minus the mean score of its pictures."""
    return -reconstructed.mean()


def balance(reconstruction: Tensor, adversary: Tensor, last: Tensor) -> Tensor:
    """Norm of the gradient of the one loss over that of the other, at the decoder's last weights, at most
    10,000 (VQ-GAN's equation 7)."""
    reconstruction_norm, adversary_norm = (
        torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (reconstruction, adversary)
    )
    return (reconstruction_norm / (adversary_norm + 1e-4)).clamp(0, 1e4).detach()
