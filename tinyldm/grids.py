"""Floor 4. Which times a solver visits: n + 1 of them, from t_max down to t_min."""

import torch
from torch import Tensor

from .errors import choose, expect
from .path import Path


def _uniform_t(path: Path, u: Tensor) -> Tensor:
    return path.t_max + u * (path.t_min - path.t_max)


def _uniform_lam(path: Path, u: Tensor) -> Tensor:
    first, last = path.lam(torch.tensor([path.t_max, path.t_min], dtype=u.dtype))
    return path.t_of_lam(first + u * (last - first))


def _karras(path: Path, u: Tensor, rho: float = 7.0) -> Tensor:
    """Uniform in (sigma/alpha)^(1/rho) (Karras et al. 2022, equation 5)."""
    first, last = torch.exp(-path.lam(torch.tensor([path.t_max, path.t_min], dtype=u.dtype)) / rho)
    return path.t_of_lam(-rho * torch.log(first + u * (last - first)))


KINDS = {"t": _uniform_t, "lam": _uniform_lam, "karras": _karras}


def grid(path: Path, n: int, kind: str = "lam") -> Tensor:
    """n + 1 falling times (n + 1,), float64 on the CPU, the first exactly t_max and the last exactly t_min.

    kind: uniform in "t", in "lam" (log alpha/sigma), or "karras". Raises ``ValueError`` for n < 1 or an unknown kind.
    """
    expect(isinstance(n, int) and n >= 1, "n", n, "a whole number of steps >= 1")
    ts = choose("kind", kind, KINDS)(path, torch.linspace(0, 1, n + 1, dtype=torch.float64))
    ts[0], ts[-1] = path.t_max, path.t_min
    return ts
