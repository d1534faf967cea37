r"""The few-step solver: Adams-Bashforth-Moulton on the circle.

With :math:`d` the data's standard deviation and :math:`\tan\varphi = \sigma/(d\,\alpha)` the state
:math:`w = x/\sqrt{d^2\alpha^2 + \sigma^2} = \cos\varphi\, x_0/d + \sin\varphi\,\varepsilon` obeys :math:`dw/d\varphi = F` with
:math:`F = \cos\varphi\,\hat\varepsilon - \sin\varphi\,\hat x_0/d`, which is minus EDM's network: zero where the data is a
Gaussian of mean 0 and spread d, and finite at both ends. F is taken as a polynomial in
:math:`u = \operatorname{asinh}(\sigma/(k\alpha))`, which is like the log of the noise level above the knee k and flattens below.
"""

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ..broadcast import mix
from ..dynamics import Dynamics
from ..path import Moment
from ..prediction import SIGMA_DATA
from .ddim import or_ddim
from .loop import wants
from .multistep import NODES, WEIGHTS, check_order, lagrange

KNEE = 0.3  # the noise level at which u turns from logarithmic to linear

Slopes = tuple[tuple[float, Tensor], ...]  # (u, F), the latest first
Start = tuple[float, Tensor]  # u and w from which the last step started


def exp_abm_weights(places: Sequence[float], start: float, end: float) -> list[float]:
    """Weights c: sum c_j p(places_j) is the integral over phi of p(u) from u = start to u = end, for polynomials p.

    d phi / d u = d sqrt(k^2 + kappa^2) / (d^2 + kappa^2) with kappa = sigma/alpha = k sinh u. Implements :eq:`circle-weights`.
    """
    u = start + (end - start) * NODES
    level = KNEE * np.sinh(u)
    speed = SIGMA_DATA * np.sqrt(KNEE**2 + level**2) / (SIGMA_DATA**2 + level**2)
    return lagrange(places, u, (end - start) * WEIGHTS * speed)


def _moved(w: Tensor, start: float, end: float, slopes: Slopes) -> Tensor:
    for weight, (_, slope) in zip(exp_abm_weights([u for u, _ in slopes], start, end), slopes, strict=True):
        w = w.add(slope, alpha=weight)
    return w


@or_ddim
@wants("left")
def exp_abm(
    dynamics: Dynamics,
    x: Tensor,
    t: Tensor,
    s: Tensor,
    memory: tuple[Slopes, Start, Tensor] | None = None,
    *,
    order: int = 5,
    left: int = 9,
) -> tuple[Tensor, tuple[Slopes, Start, Tensor] | None]:
    """Predict with ``order`` slopes; when the slope at the end is there, take the step again with one more.

    Implements :eq:`circle-step`.
    The correction costs no evaluation. Order ``order`` + 1 once started; the start, which has fewer slopes, limits it to 3.
    left: how many steps are still to come, which the loop tells: the state at the end is never corrected, so the last steps
    are taken more carefully, with 3 + left slopes.
    Source: the variables are those of Karras et al. (2022), section 5 and table 1; the method is Adams's and Moulton's.
    Raises ``ValueError`` for an order outside 1 ... 8.
    """
    check_order(order)
    here, there = dynamics.path.at(t), dynamics.path.at(s)
    u, radius, p = _place(here), _radius(here), dynamics.predict(x, t)
    slope = mix(SIGMA_DATA * here.alpha / radius, p.eps, -here.sigma / (SIGMA_DATA * radius), p.x0)
    slopes: Slopes = ((u, slope),)
    w = x / radius
    if memory is not None:
        earlier, (before, start), reached = memory
        slopes = (*slopes, *earlier)[: order + 1]
        if x is reached:  # a state that was changed in between is taken as it is
            w = _moved(start, before, u, slopes)
    moved = _moved(w, u, _place(there), slopes[: min(order, 3 + left)]) * _radius(there)
    return moved, (slopes, (u, w), moved)


def _place(moment: Moment) -> float:
    return math.asinh(moment.sigma / (moment.alpha * KNEE))


def _radius(moment: Moment) -> float:
    return math.hypot(SIGMA_DATA * moment.alpha, moment.sigma)
