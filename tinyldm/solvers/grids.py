"""Which times a solver visits: n + 1 of them, from t_max down to t_min."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..errors import choose, expect, time_grid, whole_number
from ..path import DiscreteVP, Path, check_path

FAINTEST = -math.log(torch.finfo(torch.float32).eps)  # |lam| = 16: data under noise, or noise over data, that float32 loses


def _uniform_t(path: Path, u: Tensor) -> Tensor:
    return path.t_max + u * (path.t_min - path.t_max)


def _lam_ends(path: Path, kind: str) -> Tensor:
    ends = path.lam(torch.tensor([path.t_max, path.t_min], dtype=torch.float64))
    for end, what, name in zip(ends.tolist(), ("data", "noise"), ("t_max", "t_min"), strict=True):
        cure = f"'t' or 'discrete': this path has no {what} left at {name}={getattr(path, name):g}, so lam has no end there"
        other = "a smaller t_max, such as 0.999" if what == "data" else "a larger t_min, such as 0.001"
        expect(abs(end) < FAINTEST, "kind", repr(kind), f"{cure}; or a path with {other}")
    return ends


def _uniform_lam(path: Path, u: Tensor) -> Tensor:
    first, last = _lam_ends(path, "lam")
    return path.t_of_lam(first + u * (last - first))


def _karras(path: Path, u: Tensor, rho: float = 7.0) -> Tensor:
    """Uniform in (sigma/alpha)^(1/rho) (Karras et al. 2022, equation 5). Implements :eq:`karras-grid`."""
    first, last = torch.exp(-_lam_ends(path, "karras") / rho)
    return path.t_of_lam(-rho * torch.log(first + u * (last - first)))


def _centred(path: Path, u: Tensor, floor: float = 0.4, knee: float = 0.5) -> Tensor:
    """Steps in lam that are shortest where most data decides what it will be: density floor + sech(lam + log knee).

    Both constants were chosen on mixtures of Gaussians, by search. Implements :eq:`centred-grid`.
    """
    first, last = _lam_ends(path, "centred").tolist()
    lam = torch.linspace(first, last, 20001, dtype=torch.float64)
    place = (floor * lam - 2 * torch.atan(torch.exp(-lam) / knee)).numpy()  # the integral of the density
    wanted = place[0] + u.numpy() * (place[-1] - place[0])
    return path.t_of_lam(torch.from_numpy(np.interp(wanted, place, lam.numpy())))


def _discrete(path: Path, u: Tensor) -> Tensor:
    return timesteps(path, len(u), "linspace")


GRIDS: dict[str, Callable[[Path, Tensor], Tensor]] = {
    "t": _uniform_t,
    "lam": _uniform_lam,
    "karras": _karras,
    "centred": _centred,
    "discrete": _discrete,
}


def grid(path: Path, n: int, kind: str = "lam") -> Tensor:
    """n + 1 falling times (n + 1,), float64 on the CPU, the first exactly t_max and the last exactly t_min.

    kind: uniform in "t", in "lam" (log alpha/sigma), "karras", "centred" (densest in the middle, for few steps),
    or "discrete": entries of a table, as uniform as they can be.
    Raises ``ValueError`` for n < 1, an unknown kind, more "discrete" steps than the table has, a path that is none
    (``check_path``), and for all but "t" and "discrete" where no data is left at t_max or no noise at t_min.

    >>> tl.grid(tl.VP(), 4)
    tensor([1.0000, 0.7223, 0.3046, 0.0317, 0.0010], dtype=torch.float64)
    """
    check_path(path)
    n = whole_number("n", n, 1, what="a whole number of steps")
    ts = choose("kind", kind, GRIDS)(path, torch.linspace(0, 1, n + 1, dtype=torch.float64))
    ts[0], ts[-1] = path.t_max, path.t_min
    return time_grid("n", ts)


def _linspace(entries: int, n: int, offset: int) -> Tensor:
    return torch.linspace(entries - 1, 0, n, dtype=torch.float64).round().long()


def _leading(entries: int, n: int, offset: int) -> Tensor:
    return (torch.arange(n) * (entries // n)).flip(0) + offset


def _trailing(entries: int, n: int, offset: int) -> Tensor:
    return (entries - torch.arange(n, dtype=torch.float64) * (entries / n)).round().long() - 1


SPACINGS: dict[str, Callable[[int, int, int], Tensor]] = {"linspace": _linspace, "leading": _leading, "trailing": _trailing}


def timesteps(path: Path, n: int, spacing: str = "trailing", offset: int = 0) -> Tensor:
    """The times of n entries of a table, (n,), float64, as the samplers of real models choose them: n evaluations.

    A ``DiscreteVP`` is its own table; of another path the entries are its range cut into steps of 1/1000. spacing: "linspace"
    has both ends; "leading" counts up from entry ``offset`` and misses the noisiest ones; "trailing" counts down from the last
    entry and misses the cleanest. Raises ``ValueError`` for an unknown spacing, n < 1, more steps than entries, or an
    offset that leads past the table.
    Source: Lin et al., Common Diffusion Noise Schedules and Sample Steps are Flawed (2024), table 2.
    """
    entries = path.steps if isinstance(path, DiscreteVP) else round((path.t_max - path.t_min) * 1000) + 1
    n = whole_number("n", n, 1, what="a whole number of steps")
    expect(n <= entries, "n", n, f"a whole number of steps from 1 to {entries}, the table's length")
    chosen = choose("spacing", spacing, SPACINGS)(entries, n, offset)
    inside = bool(chosen.max() < entries and chosen.min() >= 0)
    expect(inside, "offset", offset, f"an offset that keeps entry {int(chosen.max())} inside the table of {entries}")
    return path.t_min + chosen.double() * ((path.t_max - path.t_min) / max(entries - 1, 1))
