"""The KL autoencoder: tokens are vectors of a few numbers, in training sampled from a Gaussian posterior
that is kept near N(0, 1).

    KL(N(mean, variance) || N(0, 1)) = (mean^2 + variance - 1 - log variance) / 2, in nats a number

(Kingma and Welling 2013, arXiv 1312.6114; as a tokenizer Rombach et al. 2022, arXiv 2112.10752). `encode`
gives the mean. No formula says how many bits such a vector holds, so `bits` is None."""

import torch
from torch import Tensor, nn

from .base import Reconstruction, to_images, to_unit


class KLCodec(nn.Module):
    """Encoder and decoder around `channels` numbers a position."""

    discrete, vocabulary = False, None

    def __init__(self, encoder: nn.Module, decoder: nn.Module, channels: int):
        super().__init__()
        self.encoder, self.decoder, self.values = encoder, decoder, channels
        self.to_posterior, self.from_latent = (
            nn.Linear(encoder.width, 2 * channels),
            nn.Linear(channels, encoder.width),
        )

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of an H x W picture. Raises ValueError where the size does not fit."""
        return self.encoder.grid(height, width)

    def tokens(self, height: int, width: int) -> int:
        """N of an H x W picture."""
        rows, columns = self.grid(height, width)
        return rows * columns

    def length(self, height: int, width: int) -> int:
        """N: a vector counts as one."""
        return self.tokens(height, width)

    def bits(self, height: int, width: int) -> None:
        """None: the vectors are continuous."""
        self.grid(height, width)

    def posterior(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (M, N, channels), fp32, of pixels (M, 3, H, W) in [-1, 1]."""
        mean, log_variance = self.to_posterior(self.encoder(pixels)).float().chunk(2, -1)
        return mean, log_variance.clamp(-30, 20)

    def forward(self, pixels: Tensor) -> Reconstruction:
        rows, _ = self.grid(*pixels.shape[-2:])
        mean, log_variance = self.posterior(pixels)
        latents = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        kl = (mean**2 + log_variance.exp() - 1 - log_variance).mean() / 2
        return Reconstruction(self.decoder(self.from_latent(latents), rows).float(), {"kl": kl}, None)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """(M, 3, H, W) uint8 -> (M, N, channels) fp32, the means of the posteriors."""
        self.grid(*images.shape[-2:])
        return self.posterior(to_unit(images))[0]

    @torch.no_grad()
    def decode(self, tokens: Tensor, rows: int) -> Tensor:
        """(M, N, channels) in `rows` rows -> (M, 3, H, W) uint8."""
        return to_images(self.decoder(self.from_latent(tokens), rows))
