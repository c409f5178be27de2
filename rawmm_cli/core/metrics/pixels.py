"""How far pictures are from their references, pixel by pixel. Every function: (n, 3, H, W) uint8 twice -> (n,) fp64, one number a
picture.

    mse          mean square of the differences, in levels of 255, over all values
    psnr         10 log10(255^2 / mse) dB; infinite where nothing differs
    ssim         Wang et al. 2004 (doi 10.1109/TIP.2003.819861, equation 13): Gaussian window of 11, sigma 1.5, K 0.01 and 0.03;
                 mean over places where the window lies inside, as scikit-image has it (torchmetrics takes the edges in), and
                 over the three channels
    exact_values, exact_pixels     shares that are the same to the bit; a pixel is where all its three values are
    sharpness    energy of the gradient of the luma, as a share of the reference's: below 1 is blurred, above 1 has gained
                 edges that were not there. It says nothing of whether the edges are the right ones
"""

import torch
from torch import Tensor
from torch.nn import functional as F

WINDOW = 11                                             # pixels; SSIM of a smaller picture is not defined
SIGMA, C1, C2 = 1.5, (0.01 * 255) ** 2, (0.03 * 255) ** 2
LUMA = (0.299, 0.587, 0.114)                            # ITU-R BT.601
FLAT = 0.05                                             # mean square of the gradient, levels^2: below, there are no edges


def mse(images: Tensor, reference: Tensor) -> Tensor:
    """Mean squared error in levels^2."""
    return (images.long() - reference.long()).square().flatten(1).double().mean(1)


def psnr(images: Tensor, reference: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB."""
    return psnr_of(mse(images, reference))


def psnr_of(error: Tensor) -> Tensor:
    """Mean squared error -> dB."""
    return 10 * torch.log10(255 ** 2 / error)


def ssim(images: Tensor, reference: Tensor) -> Tensor:
    """Structural similarity over all places where the window lies inside; nan where a side is shorter than WINDOW."""
    if min(images.shape[2:]) < WINDOW:
        return torch.full((len(images),), torch.nan, dtype=torch.float64)
    x, y = images.double(), reference.double()
    mean_x, mean_y, xx, yy, xy = _blurred(torch.stack((x, y, x * x, y * y, x * y)))
    like = (2 * mean_x * mean_y + C1) / (mean_x ** 2 + mean_y ** 2 + C1)
    moves = (2 * (xy - mean_x * mean_y) + C2) / (xx - mean_x ** 2 + yy - mean_y ** 2 + C2)
    return (like * moves).flatten(1).mean(1)


def _blurred(values: Tensor) -> Tensor:
    """(..., H, W) -> Gaussian means, where the window lies inside."""
    window = torch.exp(-(torch.arange(WINDOW).double() - WINDOW // 2) ** 2 / (2 * SIGMA ** 2))
    window /= window.sum()
    flat = values.reshape(-1, 1, *values.shape[-2:])
    flat = F.conv2d(F.conv2d(flat, window.reshape(1, 1, -1, 1)), window.reshape(1, 1, 1, -1))
    return flat.reshape(*values.shape[:-2], *flat.shape[-2:])


def exact_values(images: Tensor, reference: Tensor) -> Tensor:
    """Share of the 3 H W values that are the same to the bit."""
    return (images == reference).flatten(1).double().mean(1)


def exact_pixels(images: Tensor, reference: Tensor) -> Tensor:
    """Share of pixels whose three values are."""
    return (images == reference).all(1).flatten(1).double().mean(1)


def edges(images: Tensor) -> Tensor:
    """Mean square of the differences of the luma of neighbours, levels^2."""
    luma = (images.double() * torch.tensor(LUMA, dtype=torch.float64).reshape(3, 1, 1)).sum(1)
    return sum(luma.diff(dim=axis).square().flatten(1).mean(1) if luma.shape[axis] > 1 else torch.zeros(len(luma)).double()
               for axis in (1, 2))


def sharpness(images: Tensor, reference: Tensor) -> Tensor:
    """Energy of edges as a share of the reference's; nan where the reference has none."""
    before = edges(reference)
    return torch.where(before > FLAT, edges(images) / before, torch.nan)
