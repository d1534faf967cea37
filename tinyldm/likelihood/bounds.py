"""Bounds and gradients from samples: the importance-weighted bound, and the score-function estimator."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import expect, whole_number
from ..gaussian import DiagonalGaussian


def log_weights(
    log_joint: Callable[[Tensor], Tensor], posterior: DiagonalGaussian, draws: int, generator: torch.Generator | None = None
) -> Tensor:
    """log p(x, z) - log q(z | x) in nats at ``draws`` samples z of the posterior for each x, (draws, B).

    log_joint: latents (B, ...) -> log p(x, z), (B,). The samples are reparameterised, so gradients reach the posterior.
    The mean of these numbers is the ELBO. Raises ``ValueError`` for draws below 1 or a log_joint of another shape.
    """
    draws = whole_number("draws", draws, 1)
    rows = []
    for _ in range(draws):
        z = posterior.sample(generator)
        joint = log_joint(z)
        expect(joint.shape == (len(z),), "log_joint", f"a result of shape {tuple(joint.shape)}", f"({len(z)},)")
        rows.append(joint + posterior.nll(z))
    return torch.stack(rows)


def importance_bound(log_weights: Tensor) -> Tensor:
    """log of the mean of K importance weights, a bound on log p(x) in nats, (B,). Implements :eq:`iwae`.

    log_weights: (K, B), log p(x, z_k) - log q(z_k | x) at K independent samples of q. For K = 1 it is the ELBO's estimate from
    one sample; in expectation it grows with K. Raises ``ValueError`` for another shape, NaN, or no samples.
    Source: Burda et al. (2016), section 3.
    """
    expect(log_weights.ndim == 2, "log_weights", f"shape {tuple(log_weights.shape)}", "(K, B)")
    expect(len(log_weights) >= 1, "log_weights", "no samples", "one row for each sample, at least one")
    expect(not bool(log_weights.isnan().any()), "log_weights", "NaN", "numbers")
    return torch.logsumexp(log_weights, 0) - math.log(len(log_weights))


def score_function_surrogate(values: Tensor, log_prob: Tensor, baseline: Tensor | float = 0.0) -> Tensor:
    """(values - baseline) log q(z), whose *gradient* is the score-function estimate of that of E_q[values], (B,).

    values: (B,), f at samples z of q, taken as numbers: no gradient flows through them or through the baseline.
    log_prob: (B,), log q at the same samples, which must not carry gradients themselves (detach z). baseline: a number, or (B,)
    numbers independent of their own sample; it changes the variance and not the mean. Where f has parameters of its own, add
    ``values`` to the loss. Raises ``ValueError`` for shapes that differ. Implements :eq:`score-function`.
    Source: Williams (1992), section 4; Ranganath et al. (2014), section 2.
    """
    expect(log_prob.shape == values.shape, "log_prob", f"shape {tuple(log_prob.shape)}", f"as values, {tuple(values.shape)}")
    if isinstance(baseline, Tensor):
        given = tuple(baseline.shape)
        expect(given in ((), tuple(values.shape)), "baseline", f"shape {given}", f"() or {tuple(values.shape)}")
        baseline = baseline.detach()
    return (values.detach() - baseline) * log_prob
