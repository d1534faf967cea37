"""The encoder's diagonal posterior, and the divergence between two diagonal Gaussians."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..broadcast import rows
from ..errors import expect
from ..runtime import normal


def reparameterize(mean: Tensor, std: Tensor, eps: Tensor) -> Tensor:
    """Turn standard noise into a sample of N(mean, std^2), differentiable in both. Implements :eq:`reparameterize`.

    Source: Kingma and Welling, Auto-Encoding Variational Bayes (2014), section 2.4.
    """
    return mean + std * eps


@dataclass(frozen=True)
class DiagonalGaussian:
    """N(mean, exp(logvar)), independent in every entry. mean, logvar: (B, ...), alike.

    Raises ``ValueError`` when the two shapes differ.
    """

    mean: Tensor
    logvar: Tensor

    def __post_init__(self) -> None:
        expect(
            self.mean.shape == self.logvar.shape,
            "logvar",
            f"shape {tuple(self.logvar.shape)}",
            f"the shape of mean, {tuple(self.mean.shape)}",
        )

    @property
    def std(self) -> Tensor:
        """The standard deviation of every entry, exp(logvar / 2), (B, ...)."""
        return torch.exp(self.logvar / 2)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """One sample an entry, (B, ...)."""
        return self.sample_with(normal(self.mean.shape, generator, self.mean))

    def sample_with(self, eps: Tensor) -> Tensor:
        """The sample that the standard normal noise ``eps`` stands for, (B, ...)."""
        return reparameterize(self.mean, self.std, eps)

    def mode(self) -> Tensor:
        """The most probable value: the mean."""
        return self.mean

    def kl(self) -> Tensor:
        """KL(self || N(0, I)) in nats, summed over all but the batch, (B,). Implements :eq:`kl-gaussian`.

        Source: Kingma and Welling (2014), appendix B.
        """
        return _total(self.kl_of_entries())

    def kl_of_entries(self) -> Tensor:
        """KL(self || N(0, I)) of every entry by itself, in nats, (B, ...)."""
        return (self.mean**2 + self.logvar.exp() - 1 - self.logvar) / 2

    def nll(self, x: Tensor) -> Tensor:
        """-log density of x in nats, summed over all but the batch, (B,). x: (B, ...)."""
        squares = (x - self.mean) ** 2 * torch.exp(-self.logvar)
        return _total(squares + self.logvar + math.log(2 * math.pi)) / 2


def kl_diagonal_gaussians(mean1: Tensor, logvar1: Tensor, mean2: Tensor, logvar2: Tensor) -> Tensor:
    """KL(N(mean1, exp(logvar1)) || N(mean2, exp(logvar2))) in nats, summed over all but the batch, (B,).

    All four (B, ...), alike. Raises ``ValueError`` for shapes that differ. Implements :eq:`kl-two-gaussians`.
    Source: Bishop, Pattern Recognition and Machine Learning (2006), exercise 1.30, for one entry.
    """
    first, second = DiagonalGaussian(mean1, logvar1), DiagonalGaussian(mean2, logvar2)
    expect(mean1.shape == mean2.shape, "mean2", f"shape {tuple(mean2.shape)}", f"the shape of mean1, {tuple(mean1.shape)}")
    squares = (first.mean - second.mean) ** 2 * torch.exp(-second.logvar)
    shift = first.logvar - second.logvar
    return _total(squares + torch.expm1(shift) - shift) / 2


def _total(x: Tensor) -> Tensor:
    """The sum over all but the batch, (B, ...) -> (B,)."""
    return rows(x).sum(1)
