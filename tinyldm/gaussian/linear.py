"""Autoencoders that are matrices, whose optimum is a formula: principal components, and the linear VAE."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import expect, whole_number
from .diagonal import DiagonalGaussian


class Components(NamedTuple):
    """mean: (D,). directions: (D, d), orthonormal columns. variances: (d,) along them, falling."""

    mean: Tensor
    directions: Tensor
    variances: Tensor


def pca(x: Tensor, d: int) -> Components:
    """The mean of x (N, D), its d directions of largest variance, (D, d), and those variances, (d,), which are means over N.

    The best linear autoencoder projects onto these directions. A direction's largest entry is positive. Implements
    :eq:`linear-ae`. Raises ``ValueError`` for other shapes, numbers that are not finite, or d outside 1 ... min(N, D).
    Source: Baldi and Hornik (1989); Bourlard and Kamp (1988).
    """
    expect(x.ndim == 2 and x.is_floating_point(), "x", f"{x.dtype}, shape {tuple(x.shape)}", "floats of shape (N, D)")
    expect(bool(x.isfinite().all()), "x", "NaN or infinity", "finite numbers")
    d = whole_number("d", d, 1, min(x.shape))
    mean = x.mean(0)
    _, stretch, rows = torch.linalg.svd(x - mean, full_matrices=False)
    return Components(mean, _upright(rows[:d].mT), stretch[:d] ** 2 / len(x))


def linear_ae_error(variances: Tensor, d: int) -> Tensor:
    """E|x - x_hat|^2 of the best linear autoencoder with d latents, summed over entries: the sum of the smallest variances, ().

    variances: (D,), all eigenvalues of the covariance, in any order. d: 0 ... D. Implements :eq:`linear-ae`.
    Raises ``ValueError`` for negative variances or another d. Source: Baldi and Hornik (1989).
    """
    _variances(variances)
    d = whole_number("d", d, 0, len(variances))
    return variances.sort(descending=True).values[d:].sum()


def water_filling(variances: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """What the best linear VAE spends on each direction: its squared error, (D,), and its rate in nats, (D,).

    variances: (D,), eigenvalues of the covariance. noise: the decoder's variance sigma^2 > 0, the water level. A direction
    of variance lambda > noise is kept: error noise, rate 1/2 log(lambda / noise). The others are left out: error lambda,
    rate 0. Implements :eq:`water-filling`. Raises ``ValueError`` for negative variances or noise <= 0.
    Source: Cover and Thomas, Elements of Information Theory, theorem 10.3.3 (13.3.3 in the first edition).
    """
    _variances(variances)
    _noise(noise)
    return variances.clamp(max=noise), torch.log(variances.clamp(min=noise) / noise) / 2


@dataclass(frozen=True)
class LinearVAE:
    """x = mean + decoder z + sqrt(noise) eps, with encoder N(encoder (x - mean), diag std^2).

    mean: (D,). decoder: (D, d). encoder: (d, D). std: (d,). noise: the decoder's variance.
    """

    mean: Tensor
    decoder: Tensor
    encoder: Tensor
    std: Tensor
    noise: float

    def encode(self, x: Tensor) -> DiagonalGaussian:
        """q(z | x) for points (B, D): mean and log-variance (B, d)."""
        mean = (x - self.mean) @ self.encoder.mT
        return DiagonalGaussian(mean, (2 * self.std.log()).expand_as(mean))

    def decode(self, z: Tensor) -> Tensor:
        """The decoder's mean, (B, d) -> (B, D)."""
        return self.mean + z @ self.decoder.mT

    def covariance(self) -> Tensor:
        """What the model believes x to be distributed with, decoder decoder^T + noise I, (D, D)."""
        return self.decoder @ self.decoder.mT + self.noise * torch.eye(len(self.mean)).to(self.decoder)


def linear_vae(covariance: Tensor, noise: float, d: int, mean: Tensor | None = None) -> LinearVAE:
    """The linear VAE of largest expected ELBO on data with this covariance (D, D): probabilistic PCA, on its own axes.

    Latent i holds direction i if its variance lambda exceeds ``noise``: decoder column u sqrt(lambda - noise), std
    sqrt(noise / lambda). Otherwise the latent is unused: column 0, std 1. noise: the decoder's variance. mean: (D,), 0 if
    None. Implements :eq:`linear-vae`. Raises ``ValueError`` unless the covariance is symmetric and >= 0, noise > 0 and
    1 <= d <= D. Source: Tipping and Bishop (1999), section 3.2 and appendix A; Lucas et al. (2019).
    """
    _noise(noise)
    square = covariance.ndim == 2 and covariance.shape[0] == covariance.shape[1]
    expect(square, "covariance", f"shape {tuple(covariance.shape)}", "shape (D, D)")
    expect(bool(covariance.isfinite().all()), "covariance", "NaN or infinity", "finite numbers")
    expect(torch.allclose(covariance, covariance.mT), "covariance", "an asymmetric matrix", "a symmetric one")
    d = whole_number("d", d, 1, len(covariance))
    values, vectors = torch.linalg.eigh(covariance)
    least, most = float(values[0]), float(values[-1])
    expect(least >= -1e-5 * abs(most), "covariance", f"an eigenvalue {least:g}", "no negative eigenvalue")
    kept = values.flip(0)[:d].clamp(min=noise)  # lambda, or the noise where nothing is worth coding
    decoder = _upright(vectors.flip(1)[:, :d]) * (kept - noise).sqrt()
    mean = torch.zeros(len(covariance)).to(covariance) if mean is None else mean.to(covariance)
    expect(mean.shape == covariance.shape[:1], "mean", f"shape {tuple(mean.shape)}", f"({len(covariance)},)")
    return LinearVAE(mean, decoder, decoder.mT / kept[:, None], (noise / kept).sqrt(), noise)


def _upright(directions: Tensor) -> Tensor:
    """Columns with the sign that makes the largest entry of each positive, (D, d)."""
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    return directions * torch.where(largest < 0, -1.0, 1.0).to(directions)


def _variances(variances: Tensor) -> None:
    expect(variances.ndim == 1, "variances", f"shape {tuple(variances.shape)}", "shape (D,)")
    proper = bool((variances >= 0).all() and variances.isfinite().all())
    expect(proper, "variances", variances.tolist(), "finite numbers >= 0")


def _noise(noise: float) -> None:
    expect(0 < noise < float("inf"), "noise", noise, "a finite variance > 0")
