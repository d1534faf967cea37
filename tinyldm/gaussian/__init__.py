"""Gaussians: the encoder's posterior, the mixture whose diffusion is known exactly, linear autoencoders, interpolation."""

from .aggregate import KLSplit, aggregate_log_prob, kl_split
from .diagonal import DiagonalGaussian, kl_diagonal_gaussians, reparameterize
from .interpolation import lerp, slerp
from .linear import Components, LinearVAE, linear_ae_error, linear_vae, pca, water_filling
from .mixture import GaussianMixture
from .tilted import guided_variances

__all__ = [
    "Components",
    "DiagonalGaussian",
    "GaussianMixture",
    "KLSplit",
    "LinearVAE",
    "aggregate_log_prob",
    "guided_variances",
    "kl_diagonal_gaussians",
    "kl_split",
    "lerp",
    "linear_ae_error",
    "linear_vae",
    "pca",
    "reparameterize",
    "slerp",
    "water_filling",
]
