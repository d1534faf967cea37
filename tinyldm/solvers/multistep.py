r"""Exponential multistep steps: the linear part exactly, the predicted x0 as a polynomial in lam through past predictions.

In the variable :math:`\lambda = \log(\alpha/\sigma)` the probability-flow ODE says
:math:`d(x/\sigma) = e^\lambda \hat x_0\, d\lambda`, so that
:math:`x_s = \frac{\sigma_s}{\sigma_t} x_t + \alpha_s \int e^{\lambda - \lambda_s} \hat x_0\, d\lambda`,
the integral running from :math:`\lambda_t` to :math:`\lambda_s`. A step is a rule for this integral.
"""

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ..dynamics import Dynamics
from ..errors import whole_number
from ..path import Moment
from .ddim import or_ddim

Past = tuple[tuple[float, Tensor], ...]  # (lam, predicted x0), the latest first
Before = tuple[Moment, Tensor]  # the time and the state from which the last step started

NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)
NODES, WEIGHTS = (NODES + 1) / 2, WEIGHTS / 2  # on [0, 1]


def quadrature(places: Sequence[float], start: float, end: float) -> list[float]:
    """Weights w: sum w_j p(places_j) is the integral of e^(lam - end) p(lam) from start to end for polynomials p.

    As many weights as places, all different; p of lower degree than that.
    Implements :eq:`exp-weights`.
    """
    h = end - start
    lam = start + h * NODES
    return lagrange(places, lam, h * WEIGHTS * np.exp(lam - end))


def lagrange(places: Sequence[float], nodes: np.ndarray, density: np.ndarray) -> list[float]:
    """sum over the nodes of density times each place's Lagrange polynomial: 1 there and 0 at the other places."""
    away = nodes - np.array(places)[:, None]  # (places, nodes)
    weights = []
    for j, own in enumerate(places):
        others = [k for k in range(len(places)) if k != j]
        scale = math.prod(own - places[k] for k in others)
        weights.append(float((away[others].prod(0) * density).sum()) / scale)
    return weights


def midpoint(places: Sequence[float], start: float, end: float) -> list[float]:
    """The cheaper rule for two places: the polynomial's value half-way, times the integral of e^(lam - end)."""
    whole = -math.expm1(start - end)
    share = ((start + end) / 2 - places[0]) / (places[0] - places[1])
    return [whole * (1 + share), -whole * share]


def advance(x: Tensor, here: Moment, there: Moment, weights: Sequence[float], past: Past) -> Tensor:
    """sigma_s / sigma_t x + alpha_s sum_j w_j x0_j. Implements :eq:`exponential-step`."""
    x = x * (there.sigma / here.sigma)
    for weight, (_, x0) in zip(weights, past, strict=True):
        if weight:
            x = x.add(x0, alpha=there.alpha * weight)
    return x


@or_ddim
def dpmpp_2m(dynamics: Dynamics, x: Tensor, t: Tensor, s: Tensor, memory: Past | None = None) -> tuple[Tensor, Past | None]:
    """DPM-Solver++(2M): x0 extrapolated half-way from the last two predictions. Order 2. Implements :eq:`dpmpp-2m`.

    Source: Lu et al., DPM-Solver++ (2022), algorithm 2.
    """
    here, there = dynamics.path.at(t), dynamics.path.at(s)
    past = ((here.lam, dynamics.predict(x, t).x0), *(memory or ()))[:2]
    places = [lam for lam, _ in past]
    rule = midpoint if len(past) == 2 else quadrature
    return advance(x, here, there, rule(places, here.lam, there.lam), past), past


@or_ddim
def exp_ab(
    dynamics: Dynamics, x: Tensor, t: Tensor, s: Tensor, memory: Past | None = None, *, order: int = 3
) -> tuple[Tensor, Past | None]:
    """Exponential Adams-Bashforth: x0 as the polynomial in lam through the last ``order`` predictions.

    order 1 is ``ddim``. The first steps use as many predictions as there are. Raises ``ValueError`` for an order outside 1 ... 8.
    Source: Zhang and Chen (2023), section 3, with x0 for eps and lam for t; Hochbruck and Ostermann, Exponential
    Multistep Methods of Adams-type (2011).
    """
    check_order(order)
    here, there = dynamics.path.at(t), dynamics.path.at(s)
    past = ((here.lam, dynamics.predict(x, t).x0), *(memory or ()))[:order]
    return advance(x, here, there, quadrature([lam for lam, _ in past], here.lam, there.lam), past), past


@or_ddim
def unipc(
    dynamics: Dynamics, x: Tensor, t: Tensor, s: Tensor, memory: tuple[Past, Before, Tensor] | None = None, *, order: int = 2
) -> tuple[Tensor, tuple[Past, Before, Tensor] | None]:
    """UniPC: when the prediction at t is there, the step that led to t is taken again with it; then on to s. Order ``order`` + 1.

    Implements :eq:`unipc`. The corrector costs no evaluation. Where the paper's method has two places, its weights are
    those of ``dpmpp_2m``; with more they are exact for polynomials, so that its B(h) cancels.
    Source: Zhao et al., UniPC (2023), algorithms 1 and 2 with B(h) = e^h - 1. Raises ``ValueError`` for an order outside 1 ... 8.
    """
    check_order(order)
    here, there = dynamics.path.at(t), dynamics.path.at(s)
    latest = (here.lam, dynamics.predict(x, t).x0)
    past: Past = (latest,)
    if memory is not None:
        earlier, (before, start), reached = memory
        if x is reached:  # a state that was changed in between is taken as it is
            x = _corrected(start, before, here, latest, earlier)
        past = (latest, *earlier)[:order]
    places = [lam for lam, _ in past]
    weights = (midpoint if len(past) == 2 else quadrature)(places, here.lam, there.lam)
    moved = advance(x, here, there, weights, past)
    return moved, (past, (here, x), moved)


def _corrected(start: Tensor, before: Moment, here: Moment, latest: tuple[float, Tensor], earlier: Past) -> Tensor:
    """The step from ``before`` to ``here`` again, now that the prediction at its end is known."""
    past = (*earlier, latest)
    weights = quadrature([lam for lam, _ in past], before.lam, here.lam)
    if len(earlier) == 1:  # the paper's rule for this case: the average of both ends
        weights = [-math.expm1(before.lam - here.lam) / 2] * len(past)
    return advance(start, before, here, weights, past)


def check_order(order: int) -> None:
    whole_number("order", order, 1, 8)
