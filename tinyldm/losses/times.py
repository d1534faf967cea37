"""At which times a network is trained: ways to draw t, each with less variance, or with another emphasis."""

import torch
from torch import Tensor

from ..errors import expect, in_range, whole_number
from ..path import Path


def _spread(path: Path, u: Tensor) -> Tensor:
    return (path.t_min + u * (path.t_max - path.t_min)).clamp(path.t_min, path.t_max)


def _slices(n: int, generator: torch.Generator | None) -> Tensor:
    """n numbers in [0, 1), one uniform in each of n equal slices, shuffled."""
    n = whole_number("n", n, 1)
    return (torch.randperm(n, generator=generator) + torch.rand(n, generator=generator)) / n


def stratified_times(path: Path, n: int, generator: torch.Generator | None = None) -> Tensor:
    """n times in [t_min, t_max], (n,), one uniform in each of n equal slices, shuffled: less variance than n free draws.

    Raises ``ValueError`` for n < 1.
    Source: Kingma et al. (2021), appendix I.1, whose low-discrepancy sampler is this idea with one shared offset.
    """
    return _spread(path, _slices(n, generator))


def importance_times(path: Path, n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """n times uniform in log-SNR and the weight (n,) that undoes it: mean(weight * h(t)) estimates the integral of h.

    The density is -lam'(t) over the range of lam, that of the likelihood weighting g^2/sigma^2 = -2 lam'. For an
    eps-loss under that weighting the product of weight and weighting is then one constant. Implements :eq:`importance`.
    Times are stratified. Raises ``ValueError`` for n < 1 or a path without a finite lam at both ends.
    Source: Song et al., Maximum Likelihood Training of Score-Based Diffusion Models (2021), section 5.1;
    Kingma et al. (2021), section 5.1.
    """
    ends = path.lam(torch.tensor([path.t_max, path.t_min], dtype=torch.float64))
    expect(bool(ends.isfinite().all()), "path", "no data left at t_max", "a finite lam at both ends")
    u = _slices(n, generator)
    t = path.t_of_lam(ends[0] + u.double() * (ends[1] - ends[0]))
    slope = path.d_alpha(t) / path.alpha(t) - path.d_sigma(t) / path.sigma(t)  # lam', negative
    return t.float(), ((ends[1] - ends[0]) / -slope).float()


def logit_normal_times(
    path: Path, n: int, mean: float = 0.0, std: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    """n times sigmoid(mean + std * normal), (n,): most of them in the middle of the path. Implements :eq:`logit-normal`.

    Source: Esser et al., Scaling Rectified Flow Transformers (2024), section 3.1. Raises ``ValueError`` for n < 1 or std <= 0.
    """
    n = whole_number("n", n, 1)
    expect(std > 0, "std", std, "a number > 0")
    t = torch.sigmoid(mean + std * torch.randn(n, generator=generator))
    return t.clamp(path.t_min, path.t_max)


def shift_times(t: Tensor, shift: float) -> Tensor:
    """shift t / (1 + (shift - 1) t): the time at which a picture with shift^2 as many pixels is as noisy.

    Implements :eq:`time-shift`.
    t: any shape, in [0, 1]. On ``RectifiedFlow`` it lowers the log-SNR by 2 log(shift) at every time.
    Source: Esser et al. (2024), section 5.3.2, where shift is the root of the ratio of pixels; SD3 uses 3.
    Raises ``ValueError`` for shift <= 0 or times outside [0, 1].
    """
    expect(shift > 0, "shift", shift, "a number > 0")
    in_range("t", t, 0.0, 1.0)
    return shift * t / (1 - t + shift * t)
