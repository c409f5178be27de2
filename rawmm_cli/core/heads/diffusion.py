"""The diffusion head: pictures to be drawn are noised, and the network learns to see the clean patches behind
the noise.

    z = (1 - t) clean + t s eps,   t = sigmoid(N(mean, spread^2))
    loss = |error|^2 in clean, noise or velocity space

A picture that is only read keeps t = 0 and has no loss. By default the network outputs the clean patches, the
loss is measured in velocity space (JiT, arXiv 2511.13720), and time enters by addition at the patch input, as
in the post.

    here                      JiT, Tuna-2, flow matching    EDM (arXiv 2206.00364)
    t                         1 - t                         sigma = t s / (1 - t)
    clean                     x, x_1                        y
    z                         z, x_t                        (1 - t) x
    velocity, s eps - clean   -v                            s dx/dsigma - y"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...system import machine
from ..blocks import Blocks, behind_one_more, one_block
from ..denoising import Denoising
from ..document import Corrupted, Pictures
from ..layers import OverPictures, Rows, multiplications
from ..noise import TIME_FEATURES, logit_normal, loss_factor, normal, target, time_features
from ..parts import Prediction, Work


class DiffusionHead(Denoising):
    """Patches of `values` numbers <-> hidden vectors of `width`.

    time: how the noise level enters. added: to every patch, as in the post. token: at a position of its own
    before the patches (U-ViT). modulation: it modulates the layers (DiT). none: not at all; the network sees
    it in the patches.
    convolution: side of a patch in places of `values` (1 where a patch is a place), or None. A 3 x 3
    convolution over the whole picture then ends the prediction (U-ViT, arXiv 2209.12152), so that patches
    agree at their seams; it starts as the identity."""

    reads_ahead = False

    def __init__(
        self,
        values: int,
        width: int,
        *,
        bottleneck: int | None,
        time: str = "added",
        convolution: int | None = None,
        **path: Any,
    ):
        """path: prediction, space, times, noise and clamp, as of `Denoising`."""
        super().__init__(values, **path)
        self.time = time
        self.into = (
            nn.Linear(values, width)
            if bottleneck is None
            else nn.Sequential(nn.Linear(values, bottleneck, bias=False), nn.Linear(bottleneck, width))
        )
        if time != "none":
            self.clock = nn.Sequential(nn.Linear(TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width))
        self.out = nn.Linear(width, values)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.over = None if convolution is None else OverPictures(values // convolution**2, convolution)

    def blocks(self, rows: int, columns: int) -> Blocks:
        """A block a picture, behind a position for the time where it has one."""
        return behind_one_more(rows, columns) if self.time == "token" else one_block(rows, columns)

    def corrupt(self, clean: Tensor, pictures: Pictures) -> Corrupted:
        """Clean patches (M N, P) -> noised where the picture is drawn, noise and times by the keys of the
        pictures."""
        patches, keys = self._patches(pictures)[0], pictures.sources()
        of = patches.picture_of
        eps = normal(keys, patches.counts, self.values, device=clean.device)
        time = machine.send(logit_normal(keys, self.time_mean, self.time_spread), clean.device)
        inputs = self.noised(clean, eps, time[of])
        wanted, learned = target(self.prediction, clean, eps, self.noise_scale), pictures.drawn[of].float()
        if self.time == "token":  # the loss of a picture stays the mean over its patches
            more = torch.tensor([whole / part for whole, part in zip(pictures.counts, patches.counts)])
            learned = learned * machine.send(more, clean.device)[of]
        inputs, wanted, learned = (self.to_positions(x, pictures) for x in (inputs, wanted, learned))
        return Corrupted(inputs, time, wanted, learned)

    def embed(self, inputs: Tensor, time: Tensor, pictures: Pictures) -> Tensor:
        """Patches (T, P) of pictures at times (M,), or (1,) for all -> (T, D)."""
        patches = self.into(inputs)
        if self.time in ("modulation", "none"):
            return patches
        clock = self.clock(time_features(time))
        if len(time) == len(pictures.drawn):
            clock = F.embedding(pictures.picture_of, clock)  # its backward adds in order, on a GPU too
        if self.time == "added":
            return patches + clock
        return torch.where(pictures.index[:, None] == 0, clock, patches)

    def condition(self, time: Tensor) -> Tensor | None:
        """Times (M,) -> (M, D) where they modulate the backbone, else None."""
        return self.clock(time_features(time)) if self.time == "modulation" else None

    def output(self, hidden: Tensor, pictures: Pictures) -> Tensor:
        """Hidden (T, D) of whole pictures -> prediction (T, P)."""
        out = self.out(hidden)
        if self.over is None:
            return out
        whole = self.over(self.to_patches(out, pictures), self._patches(pictures)[0])
        return self.to_positions(whole, pictures)

    def loss(self, prediction: Tensor, corrupted: Corrupted, pictures: Pictures) -> Tensor:
        """Mean over the values of all drawn patches, in the chosen space, fp32."""
        factor = loss_factor(self.prediction, self.space, corrupted.time, self.noise_scale, self.clamp)
        factor = factor[pictures.picture_of]
        error = (prediction.float() - corrupted.target).square().mean(-1)  # (T,)
        drawn = pictures.drawn[pictures.picture_of].sum()
        return (error * factor.square() * corrupted.weight).sum() / drawn.clamp_min(1)

    def work(self) -> Work:
        """Patches in and out, and the clock; neither patches nor times need a gradient. A time's own position
        is not convolved."""
        first = self.into if isinstance(self.into, nn.Linear) else self.into[0]
        over = 0 if self.over is None else self.over.multiplications
        clock = 0 if self.time == "none" else multiplications(self.clock)
        return Work(
            position=multiplications(self.into, self.out) + over,
            picture=clock - over * (self.time == "token"),
            first_position=multiplications(first),
            first_picture=multiplications(self.clock[0]) if clock else 0,
        )

    def _patches(self, pictures: Pictures) -> tuple[Pictures, Tensor | None]:
        """The pictures without the positions of times, and the places of patches; None: all are patches."""
        return pictures.behind_first() if self.time == "token" else (pictures, None)

    def to_positions(self, patches: Tensor, pictures: Pictures) -> Tensor:
        """Rows of patches (K, ...) -> rows of all positions (T, ...), zeros at those of times."""
        at = self._patches(pictures)[1]
        if at is None:
            return patches
        wide = patches.new_zeros(len(pictures.index), *patches.shape[1:])
        with machine.unordered():
            return wide.index_copy(0, at, patches)

    def to_patches(self, rows: Tensor, pictures: Pictures) -> Tensor:
        """Rows of all positions (T, ...) -> those of patches (K, ...)."""
        at = self._patches(pictures)[1]
        return rows if at is None else Rows.apply(rows, at)

    def predicted(self, outputs: Tensor, z: Tensor, time: Tensor, pictures: Pictures) -> Tensor:
        """What `output` says of noised patches z (K, P) at times (M,) -> predictions of patches (K, P)."""
        return self.to_patches(outputs, pictures)

    def of_patches(
        self, predict: Callable[..., Prediction], grid: tuple[int, int]
    ) -> Callable[..., Prediction]:
        """The function predict(z (M, N, P), t, share) of patches alone, in a grid of rows and columns, from
        that of all positions."""
        if self.time != "token":
            return predict

        def patches(z: Tensor, t: float, share: float = 1.0) -> Prediction:
            whole = predict(F.pad(z, (0, 0, 1, 0)), t, share)
            guided, conditional, unconditional = (output[:, 1:] for output in whole[:3])
            return Prediction(guided, conditional, unconditional, whole.scale)

        return patches
