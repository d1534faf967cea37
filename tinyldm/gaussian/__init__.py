"""Floor 2. Gaussians: the encoder's diagonal posterior, and the mixture whose diffusion is known exactly."""

from .diagonal import DiagonalGaussian, kl_diagonal_gaussians, reparameterize
from .mixture import GaussianMixture

__all__ = ["DiagonalGaussian", "GaussianMixture", "kl_diagonal_gaussians", "reparameterize"]
