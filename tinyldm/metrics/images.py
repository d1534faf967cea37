"""How faithful one image is to another."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import expect, in_range

WINDOW, SIGMA = 11, 1.5  # pixels
C1, C2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2  # they keep the two quotients finite; 2 is the range of the intensities


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, one for each image, (B,). x, y: (B, C, H, W) in [-1, 1]. Implements :eq:`psnr`.

    x is the image as it should be, y may leave the range a little. The peak-to-peak range is 2. Identical images give infinity.
    Raises ``ValueError`` for shapes that differ, x outside [-1, 1] and NaN.
    Source: common usage, as in Wang et al., Image Quality Assessment (2004), section I.
    """
    _pair(x, y)
    mse = ((x - y) ** 2).flatten(1).mean(1)
    return 10 * torch.log10(4 / mse)


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity, one for each image, (B,), at most 1. x, y: (B, C, H, W) in [-1, 1]. Implements :eq:`ssim`.

    Means, variances and the covariance are those of a Gaussian window of 11x11 pixels, in each channel by itself, wherever
    the whole window lies inside the image; then the average over places and channels. Unlike PSNR it is not indifferent to
    where zero is: intensities are counted from black, 0 ... 2, as the definition asks. Raises ``ValueError`` as ``psnr``
    does, and for images smaller than the window. Source: Wang et al., Image Quality Assessment (2004), equation 13.
    """
    _pair(x, y)
    fits = x.ndim == 4 and min(x.shape[2:]) >= WINDOW
    expect(fits, "x", f"shape {tuple(x.shape)}", f"(B, C, H, W) with sides of at least {WINDOW} pixels")
    a, b = (v.cpu().double().flatten(0, 1)[:, None] + 1 for v in (x, y))  # (B*C, 1, H, W) from 0 to 2
    mean_a, mean_b = _smooth(a), _smooth(b)
    var_a, var_b = _smooth(a * a) - mean_a**2, _smooth(b * b) - mean_b**2
    covariance = _smooth(a * b) - mean_a * mean_b
    brightness = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    structure = (2 * covariance + C2) / (var_a + var_b + C2)
    return (brightness * structure).reshape(len(x), -1).mean(1).to(x)


def _pair(x: Tensor, y: Tensor) -> None:
    """Refuse what is no image and its reconstruction."""
    expect(x.shape == y.shape, "y", f"shape {tuple(y.shape)}", f"the shape of x, {tuple(x.shape)}")
    in_range("x", x, -1.0 - 1e-4, 1.0 + 1e-4)
    in_range("y", y, -math.inf, math.inf)


def _smooth(images: Tensor) -> Tensor:
    """The weighted mean in a Gaussian window, (N, 1, H, W) -> (N, 1, H - 10, W - 10): first down, then across."""
    offsets = torch.arange(WINDOW, dtype=images.dtype) - WINDOW // 2
    weights = torch.softmax(-(offsets**2) / (2 * SIGMA**2), dim=0)
    return F.conv2d(F.conv2d(images, weights.reshape(1, 1, -1, 1)), weights.reshape(1, 1, 1, -1))
