"""How probable the data are: exactly, by the ODE; from below, by the bounds of latent-variable models."""

from .bounds import importance_bound, log_weights, score_function_surrogate
from .elbo import Bound, continuous_bound, discrete_bound, elbo_weights
from .ode import bits_per_dimension, divergence, log_likelihood

__all__ = [
    "Bound",
    "bits_per_dimension",
    "continuous_bound",
    "discrete_bound",
    "divergence",
    "elbo_weights",
    "importance_bound",
    "log_likelihood",
    "log_weights",
    "score_function_surrogate",
]
