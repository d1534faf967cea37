"""What guidance makes of two Gaussians, where it can be solved by hand."""

from ..errors import expect


def guided_variances(scale: float, variance: float = 2.0) -> dict[str, float]:
    """The variances of guided samples by the "ode" and the "sde", and of the "tilted" density. Implements :eq:`cfg-gaussian`.

    p = N(0, variance) is led to p(.|c) = N(0, 1) along a variance-exploding path, with infinite noise at its end. scale: w, above
    1/2. Raises ``ValueError`` for a smaller scale, or a variance that is not above 1.
    Source: Bradley and Nakkiran, Classifier-Free Guidance is a Predictor-Corrector (2024), section 3, for variance = 2.

    >>> tl.gaussian.guided_variances(3.0)
    {'ode': 0.25, 'sde': 0.3875, 'tilted': 0.5}
    """
    expect(scale > 0.5, "scale", scale, "a number above 1/2")
    expect(variance > 1, "variance", variance, "a number above 1, the variance of p(.|c)")
    w, v = scale, variance
    return {"ode": v ** (1 - w), "sde": (v - v ** (2 - 2 * w)) / ((2 * w - 1) * (v - 1)), "tilted": v / (v * w - w + 1)}
