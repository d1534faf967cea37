"""Exact log-likelihood: the probability-flow ODE is an invertible map, and its change of volume can be integrated."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..broadcast import rows
from ..dynamics import Dynamics
from ..errors import expect, whole_number

EARLY = 1e-4  # data enter at this fraction of t_min: near enough to t = 0 that the noise there does not matter


def divergence(field: Callable[[Tensor], Tensor], x: Tensor, probes: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """A field's value at x, (B, ...), and its divergence, (B,). Implements :eq:`divergence`.

    probes: None for the exact trace, one backward pass an entry; or (n, B, ...) random signs, one pass each, whose products
    with the Jacobian average to the trace. Source: Hutchinson (1989); Grathwohl et al., FFJORD (2019), section 3.1.
    """
    with torch.inference_mode(False), torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        probes = None if probes is None else probes.clone()
        v = field(x)
        if probes is None:
            flat = rows(v)
            traces = [rows(_gradient(flat[:, i].sum(), x))[:, i] for i in range(flat.shape[1])]
            return v.detach(), torch.stack(traces).sum(0)
        traces = [rows(_gradient((v * probe).sum(), x) * probe).sum(1) for probe in probes]
    return v.detach(), torch.stack(traces).mean(0)


def _gradient(value: Tensor, x: Tensor) -> Tensor:
    if not value.requires_grad:  # the velocity does not depend on x
        return torch.zeros_like(x)
    (gradient,) = torch.autograd.grad(value, x, retain_graph=True, allow_unused=True)
    return torch.zeros_like(x) if gradient is None else gradient


def log_likelihood(
    dynamics: Dynamics,
    x: Tensor,
    *,
    rtol: float = 1e-6,
    atol: float = 1e-6,
    hutchinson: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """log p(x) in nats, (B,), of data x (B, ...), by the instantaneous change of variables. Implements :eq:`change-of-variables`.

    Carries x to t_max along the ODE and adds up the divergence of the velocity on the way; both are integrated together by
    SciPy's DOP853 to rtol, atol. hutchinson: None for the exact trace, or how many random probes estimate it; they are drawn
    once from ``generator``, so that the estimate is unbiased up to the solver's tolerance.

    The density at t_max is the Gaussian with the mean, score and curvature that ``dynamics`` itself has there, which for
    alpha(t_max) = 0 is N(0, sigma^2): taking the latter on every path would cost up to some alpha |x0| |x| nats.
    Source: Chen et al., Neural ODEs (2018), theorem 1; Song et al. (2021), section 4.3 and appendix D.2.
    Raises ``ValueError`` for tolerances <= 0, hutchinson < 1, x that is not finite or a predict that detaches its result;
    ``FloatingPointError`` when the integration fails.
    """
    from scipy.integrate import solve_ivp  # here, so that the library's import does not wait for it

    expect(rtol > 0 and atol > 0, "rtol, atol", (rtol, atol), "numbers > 0")
    hutchinson = None if hutchinson is None else whole_number("hutchinson", hutchinson, 1, what="None or a number of probes")
    expect(bool(x.is_floating_point() and torch.isfinite(x).all()), "x", f"{x.dtype}", "finite floating-point numbers")
    path, probes = dynamics.path, None
    _can_be_followed(dynamics, x)
    if hutchinson is not None:
        signs = torch.randint(2, (hutchinson, *x.shape), generator=generator)
        probes = (2 * signs - 1).to(x)

    def rates(t: float, y: np.ndarray) -> np.ndarray:
        state = torch.from_numpy(y[: x.numel()]).to(x).reshape(x.shape)
        time = torch.tensor(t, dtype=torch.float64)
        v, spread = divergence(lambda x: dynamics.velocity(x, time), state, probes)
        rate = np.concatenate([v.double().cpu().numpy().ravel(), spread.double().cpu().numpy()])
        if not np.isfinite(rate).all():
            raise FloatingPointError(f"the likelihood's integration failed: the velocity is not finite at t={t:g}")
        return rate

    start = np.concatenate([x.detach().double().cpu().numpy().ravel(), np.zeros(len(x))])
    times = (path.t_min * EARLY, path.t_max)
    found = solve_ivp(rates, times, start, method="DOP853", t_eval=[path.t_max], rtol=rtol, atol=atol)
    if not (found.success and np.isfinite(found.y).all()):
        raise FloatingPointError(f"the likelihood's integration failed: {found.message}")
    end = torch.from_numpy(found.y[:, -1])
    noise, volume = end[: x.numel()].to(x).reshape(x.shape), end[x.numel() :].to(x)
    return _terminal(dynamics, noise, probes) + volume


def _can_be_followed(dynamics: Dynamics, x: Tensor) -> None:
    """Refuse a predict that detaches its result: autograd would see no change of volume, and say nothing."""
    t = torch.tensor(dynamics.path.t_max / 2, dtype=torch.float64)
    with torch.no_grad():
        ahead, behind = (dynamics.velocity(x + h, t) for h in (1e-3, -1e-3))
    moved = float((ahead - behind).sum() / 2e-3)
    with torch.inference_mode(False), torch.enable_grad():
        place = x.detach().clone().requires_grad_()
        seen = float(_gradient(dynamics.velocity(place, t).sum(), place).sum())
    close = not math.isfinite(moved - seen) or abs(moved - seen) <= 0.02 * (abs(moved) + abs(seen)) + 1e-2 * x.numel()
    expect(close, "predict", "one that detaches its result", "a function that autograd can follow")


def _terminal(dynamics: Dynamics, x: Tensor, probes: Tensor | None) -> Tensor:
    """log density at t_max, (B,): the Gaussian N(m, V) whose score, -V^-1 (x - m), is the model's, and tr V^-1 = -div score.

    (x - m)^T V^-1 (x - m) = m . score(0) - (score(x) + score(0)) . x. V is close to sigma^2, so that m = sigma^2 score(0) and
    log det V = D log sigma^2 + D - sigma^2 tr V^-1, both up to the square of the small difference.
    """
    t = torch.tensor(dynamics.path.t_max, dtype=torch.float64)
    moment, entries = dynamics.path.at(t), x[0].numel()
    score, spread = divergence(lambda x: dynamics.score(x, t), x, probes)
    with torch.no_grad():
        origin = dynamics.score(torch.zeros_like(x), t)
    square = rows(moment.sigma**2 * origin**2 - (score + origin) * x).sum(1)
    logdet = entries * math.log(moment.sigma**2) + entries + moment.sigma**2 * spread
    return -(square + logdet + entries * math.log(2 * math.pi)) / 2


def bits_per_dimension(log_prob: Tensor, entries: int, width: float = 1.0) -> Tensor:
    """-log2 of the probability of a cell of side ``width``, an entry: how many bits a number costs.

    Implements :eq:`bits-per-dimension`.
    log_prob: (B,) nats, a density over ``entries`` numbers. width: the distance of two grey levels in the data's units,
    2/255 for 8 bits in [-1, 1]. Raises ``ValueError`` for entries < 1 or width <= 0.
    Source: Theis et al., A note on the evaluation of generative models (2016), section 3.1.
    """
    entries = whole_number("entries", entries, 1)
    expect(width > 0, "width", width, "a number > 0")
    return -log_prob / (entries * math.log(2)) - math.log2(width)
