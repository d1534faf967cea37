"""The forward SDE, simulated: dx = f(t) x dt + g(t) dW, from data to noise in small steps."""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from ..errors import expect, time_grid
from ..runtime import normal
from .base import Path


def diffuse(
    path: Path,
    x: Tensor,
    ts: Tensor,
    generator: torch.Generator | None = None,
    callback: Callable[[int, Tensor, Tensor, Tensor], None] | None = None,
) -> Tensor:
    """Carry x from ts[0] up to ts[-1] by Euler-Maruyama steps. Implements :eq:`forward-sde`.

    x: (B, ...), the state at ts[0], with the noise of that time in it (VE has some at t = 0). ts: rising times in
    [0, t_max]. callback(i, t, x, dw) sees the state after step i, at time t,
    and the increment of the Wiener process that led to it, of variance t - (the time before).
    Source: Song et al. (2021), section 3.1. Raises ``ValueError`` for x that are no floats, times that do not rise or leave
    the range.
    """
    expect(x.is_floating_point(), "x", x.dtype, "floating-point numbers")
    ts = time_grid("ts", ts, rising=True)
    inside = bool(ts[0] >= 0 and ts[-1] <= path.t_max * (1 + 1e-6))
    expect(inside, "ts", f"[{ts[0]:g}, {ts[-1]:g}]", f"times in [0, {path.t_max:g}]")
    drifts, diffusions = path.f(ts).tolist(), path.g2(ts).tolist()
    for i, (t, s) in enumerate(pairwise(ts.tolist())):
        dw = normal(x.shape, generator, x) * math.sqrt(s - t)
        x = torch.add(x * (1 + drifts[i] * (s - t)), dw, alpha=math.sqrt(diffusions[i]))
        if callback is not None:
            callback(i, ts[i + 1], x, dw)
    return x
