"""One weight, four dialects: a KL weight means nothing until it is said what is summed and what is averaged."""

import math
from dataclasses import dataclass

from torch import Tensor

from ..broadcast import rows
from ..errors import choose, expect
from ..gaussian import DiagonalGaussian
from .autoencoding import alike


def beta_loss(x: Tensor, x_hat: Tensor, posterior: DiagonalGaussian, beta: float, reduction: str = "sum_sum") -> Tensor:
    """Squared error of x plus ``beta`` times KL(posterior || N(0, I)), (B,). Implements :eq:`beta-loss`.

    x, x_hat: (B, ...), alike. reduction: first word, the squared error over pixels; second, the KL over latent entries.
    There is no 1/2 before the squared error: the negative ELBO with variance 1 is half of ``beta=2``, not of 1.
    Raises ``ValueError`` for shapes that differ, a negative beta, an unknown reduction, or data that are not finite.
    Source: Higgins et al., beta-VAE (2017), equation 4; the reductions are those found in common code.
    """
    alike(x, x_hat, posterior)
    expect(beta >= 0, "beta", beta, "a number >= 0")
    pixels, latents = x.shape[1:].numel(), posterior.mean.shape[1:].numel()
    divisors = {"sum_sum": (1, 1), "mean_mean": (pixels, latents), "mean_sum": (pixels, 1)}
    squares_by, kl_by = choose("reduction", reduction, divisors)
    return rows((x - x_hat) ** 2).sum(1) / squares_by + beta * posterior.kl() / kl_by


@dataclass(frozen=True)
class EffectiveBeta:
    """One weight in four dialects: three reductions of ``beta_loss``, and the variance of the Gaussian decoder meant."""

    sum_sum: float
    mean_mean: float
    mean_sum: float
    variance: float


def effective_beta(
    pixels: int,
    latents: int,
    *,
    sum_sum: float | None = None,
    mean_mean: float | None = None,
    mean_sum: float | None = None,
    variance: float | None = None,
) -> EffectiveBeta:
    """Translate a weight, given in exactly one dialect, into all four. Implements :eq:`effective-beta`.

    pixels: D, the entries of x (channels included); latents: d, those of z. Losses that differ by a factor have the same
    minimisers, and the negative ELBO times 2 variance is |x - x_hat|^2 + 2 variance KL + const, so
    sum_sum = 2 variance = D mean_sum = (D / d) mean_mean.
    Raises ``ValueError`` for sizes below 1, none or several weights, a negative beta, or a variance that is not positive.
    Source: Rybkin et al. (2021), section 3.1, for beta as a decoder's variance; the reductions follow by counting.
    """
    expect(pixels >= 1, "pixels", pixels, "at least 1")
    expect(latents >= 1, "latents", latents, "at least 1")
    weights = {"sum_sum": sum_sum, "mean_mean": mean_mean, "mean_sum": mean_sum, "variance": variance}
    given = {name: value for name, value in weights.items() if value is not None}
    expect(len(given) == 1, "weight", " and ".join(given) or "none", f"exactly one of {', '.join(weights)}")
    ((name, value),) = given.items()
    good = 0 < value < math.inf if name == "variance" else 0 <= value < math.inf
    expect(good, name, value, "a number > 0" if name == "variance" else "a number >= 0")
    factors = {"sum_sum": 1.0, "mean_mean": latents / pixels, "mean_sum": 1 / pixels, "variance": 0.5}
    base = value / factors[name]
    return EffectiveBeta(**{n: value if n == name else base * factor for n, factor in factors.items()})
