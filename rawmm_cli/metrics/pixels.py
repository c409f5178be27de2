"""Distances of pictures from their references, pixel by pixel. Every function takes pictures and references,
(n, 3, H, W) uint8, and gives (n,) fp64, one number a picture.

    mse          mean square of the differences, in levels of 255, over all values
    psnr         10 log10(255^2 / mse) dB; infinite where nothing differs
    ssim         Wang et al. 2004 (doi 10.1109/TIP.2003.819861, equation 13): Gaussian window of 11, sigma
                 1.5, K 0.01 and 0.03; mean over places where the window lies inside, as scikit-image has it
                 (torchmetrics takes the edges in), and over the three channels
    exact_values, exact_pixels     shares that are the same to the bit; a pixel is where all its three
                                   values are
    sharpness    energy of the gradient of the luma, as a share of the reference's: below 1 is blurred,
                 above 1 has gained edges that were not there. It says nothing of whether the edges are the
                 right ones

Of pictures alone: `edges`, and `fine`, the share of the luma's energy, its mean left out, at frequencies
above half of what pixels can show (1/4 a pixel along rows or columns).
"""

import torch
from torch import Tensor

WINDOW = 11  # pixels; SSIM of a smaller picture is not defined
STRIP = 1 << 21  # values
SIGMA, C1, C2 = 1.5, (0.01 * 255) ** 2, (0.03 * 255) ** 2
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
FLAT = 0.05  # mean square of the gradient, levels^2: below, there are no edges


def mse(images: Tensor, reference: Tensor) -> Tensor:
    """Mean squared error in levels^2."""
    squares = (images.float() - reference.float()).square()  # whole numbers: exact
    return squares.flatten(1).mean(1, dtype=torch.float64)


def psnr(images: Tensor, reference: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB."""
    return psnr_of(mse(images, reference))


def psnr_of(error: Tensor) -> Tensor:
    """PSNR in dB of a mean squared error."""
    return 10 * torch.log10(255**2 / error)


def ssim(images: Tensor, reference: Tensor) -> Tensor:
    """Structural similarity over all places where the window lies inside; nan where a side is shorter than
    WINDOW."""
    if min(images.shape[2:]) < WINDOW:
        return torch.full((len(images),), torch.nan, dtype=torch.float64)
    if torch.equal(images, reference):
        return torch.ones(len(images), dtype=torch.float64)
    # Without subtracting the median, fp32 would lose the small variances of a white page: 5e-4 of SSIM.
    flat = reference.flatten(1).median(1).values.float().view(-1, 1, 1, 1)
    places, total = images.shape[2] - WINDOW + 1, 0.0
    rows = max(1, STRIP // images[:, :, 0].numel())
    for top in range(0, places, rows):  # strips bound the memory of large pictures
        strip = slice(top, min(top + rows, places) + WINDOW - 1)
        total += _similar(*(part[:, :, strip].float() - flat for part in (images, reference)), flat)
    return total / (3 * places * (images.shape[3] - WINDOW + 1))


def _similar(x: Tensor, y: Tensor, flat: Tensor) -> Tensor:
    """Sum of the similarity over all places (n,), of pictures (n, 3, H, W) from which `flat` was
    subtracted."""
    mean_x, mean_y, xx, yy, xy = _blurred(torch.stack((x, y, x * x, y * y, x * y)))
    structure = (2 * (xy - mean_x * mean_y) + C2) / (xx - mean_x**2 + yy - mean_y**2 + C2)
    mean_x, mean_y = mean_x + flat, mean_y + flat
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    return (luminance * structure).flatten(1).sum(1, dtype=torch.float64)


def _blurred(values: Tensor) -> Tensor:
    """Gaussian means of (..., H, W) where the window lies inside: (..., H - 10, W - 10)."""
    return _means(_means(values).transpose(-1, -2)).transpose(-1, -2)


def _means(values: Tensor) -> Tensor:
    """Gaussian means along the last axis, (..., W) -> (..., W - 10), as a sum of shifted copies: on a CPU
    several times as fast as a convolution."""
    window = torch.exp(-((torch.arange(WINDOW).double() - WINDOW // 2) ** 2) / (2 * SIGMA**2))
    first, *shares = (window / window.sum()).tolist()
    width = values.shape[-1] - WINDOW + 1
    means = first * values[..., :width]
    for n, share in enumerate(shares, 1):
        means.add_(values[..., n : n + width], alpha=share)
    return means


def exact_values(images: Tensor, reference: Tensor) -> Tensor:
    """Share of the 3 H W values that are the same to the bit."""
    return (images == reference).flatten(1).mean(1, dtype=torch.float64)


def exact_pixels(images: Tensor, reference: Tensor) -> Tensor:
    """Share of pixels whose three values are the same to the bit."""
    return (images == reference).all(1).flatten(1).mean(1, dtype=torch.float64)


def _luma(images: Tensor) -> Tensor:
    return (images.float() * torch.tensor(LUMA).reshape(3, 1, 1)).sum(1)


def fine(images: Tensor) -> Tensor:
    """Share of the energy in fine structure, 0 to 1; nan of a picture of one colour. The transform takes a
    picture as if it went on with itself beyond its edges."""
    luma = _luma(images).double()
    energy = torch.fft.fft2(luma - luma.mean((1, 2), keepdim=True)).abs().square()
    rows, columns = (torch.fft.fftfreq(side).abs() > 0.25 for side in luma.shape[1:])
    total = energy.sum((1, 2))
    share = (energy * (rows[:, None] | columns)).sum((1, 2)) / total
    return torch.where(total > FLAT * luma[0].numel() ** 2, share, torch.nan)


def edges(images: Tensor) -> Tensor:
    """Mean square of the luma differences of neighbouring pixels, levels^2."""
    luma = _luma(images)
    return sum(
        luma.diff(dim=axis).square().flatten(1).mean(1, dtype=torch.float64)
        if luma.shape[axis] > 1
        else torch.zeros(len(luma)).double()
        for axis in (1, 2)
    )


def sharpness(images: Tensor, reference: Tensor) -> Tensor:
    """Energy of edges as a share of the reference's; nan where the reference has no edges."""
    return sharpness_of(edges(images), edges(reference))


def sharpness_of(after: Tensor, before: Tensor) -> Tensor:
    """Sharpness from `edges` of pictures and of their references."""
    return torch.where(before > FLAT, after / before, torch.nan)
