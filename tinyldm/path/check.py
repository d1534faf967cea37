"""What a path must be: from data to noise, ever noisier, without a gap in its usable range."""

from functools import lru_cache

import torch

from ..errors import expect
from .base import Path

TIMES = 33  # how many are looked at


def check_path(path: Path) -> None:
    """Check that alpha/sigma falls all the way from t_min to t_max, at 33 times.

    alpha and sigma must be numbers >= 0, one a time. At t_max no data may be left, at t_min no noise: who divides by
    them looks for himself. Raises ``ValueError`` naming the first time at which this does not hold, and for what is no
    ``Path`` or has not 0 <= t_min < t_max.
    """
    expect(isinstance(path, Path), "path", repr(path), "a Path, such as VP(); an own one subclasses it")
    (_checked if vars(type(path)).get("constant") else _check)(path)  # one whose numbers never change: once


def _check(path: Path) -> None:
    kind, low, high = type(path).__name__, path.t_min, path.t_max
    expect(0 <= low < high, "path", f"t_min={low}, t_max={high} of {kind}", "0 <= t_min < t_max")
    t = torch.linspace(low, high, TIMES, dtype=torch.float64)
    with torch.no_grad():
        both = {"alpha": torch.as_tensor(path.alpha(t)), "sigma": torch.as_tensor(path.sigma(t))}
    for name, value in both.items():
        given = f"{kind}.{name} of shape {tuple(value.shape)} for times (n,)"
        expect(value.shape in (t.shape, ()), "path", given, "one number a time")
        wrong = ~(value.isfinite() & (value >= 0)).expand(t.shape)
        if wrong.any():
            at = f"{kind}.{name}({t[wrong][0]:g}) = {value.expand(t.shape)[wrong][0]:g}"
            raise ValueError(
                f"path: expected finite numbers >= 0 from t_min={low:g} to t_max={high:g}, got {at}; "
                f"set t_min and t_max of {kind} to where it is defined"
            )
    still = ~((both["alpha"].log() - both["sigma"].log()).expand(t.shape).diff() < 0)  # lam is infinite without data
    if still.any():
        i = int(still.nonzero()[0])
        raise ValueError(
            f"path: expected alpha/sigma to fall all the way, got {kind} with as much data at t={t[i + 1]:g} as at "
            f"t={t[i]:g}; set t_min and t_max to where it falls"
        )


_checked = lru_cache(maxsize=256)(_check)
