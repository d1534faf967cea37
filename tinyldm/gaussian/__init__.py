"""Floor 2. Gaussians: the encoder's diagonal posterior, and the mixture whose diffusion is known exactly."""

from .aggregate import KLSplit, aggregate_log_prob, kl_split
from .diagonal import DiagonalGaussian, kl_diagonal_gaussians, reparameterize
from .mixture import GaussianMixture

__all__ = [
    "DiagonalGaussian",
    "GaussianMixture",
    "KLSplit",
    "aggregate_log_prob",
    "kl_diagonal_gaussians",
    "kl_split",
    "reparameterize",
]
