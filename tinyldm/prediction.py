r"""What a network may predict: every parametrisation is one row (a, b), the target y = a x0 + b eps.

Together with :math:`x_t = \alpha x_0 + \sigma \varepsilon` a row makes two linear equations in two unknowns,
so one function turns any network's output into both the clean data and the noise.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .broadcast import mix
from .errors import choose, expect, in_range
from .path import Path


@dataclass(frozen=True)
class Prediction:
    """What is believed about x_t: the clean data and the noise, both (B, ...)."""

    x0: Tensor
    eps: Tensor


Predict = Callable[[Tensor, Tensor], Prediction]
Row = Callable[[Path, Tensor], tuple[Tensor, Tensor]]

SIGMA_DATA = 0.5  # EDM's assumed standard deviation of the data


def _edm(path: Path, t: Tensor) -> tuple[Tensor, Tensor]:
    """EDM's F: the x0 that is left after c_skip x, over c_out, at noise level sigma/alpha (Karras et al. 2022, table 1)."""
    level = path.sigma(t) / path.alpha(t)
    total = torch.sqrt(level**2 + SIGMA_DATA**2)
    return level / (SIGMA_DATA * total), -SIGMA_DATA / total


PARAMETRISATIONS: dict[str, Row] = {
    "x0": lambda path, t: (torch.ones_like(t), torch.zeros_like(t)),
    "eps": lambda path, t: (torch.zeros_like(t), torch.ones_like(t)),
    "v": lambda path, t: (-path.sigma(t), path.alpha(t)),
    "score": lambda path, t: (torch.zeros_like(t), -1 / path.sigma(t)),
    "flow": lambda path, t: (path.d_alpha(t), path.d_sigma(t)),
    "edm": _edm,
}


def _row(parametrisation: str | Row, path: Path, t: Tensor) -> tuple[Tensor, Tensor]:
    row = parametrisation if callable(parametrisation) else choose("parametrisation", parametrisation, PARAMETRISATIONS)
    return row(path, t)


def target(parametrisation: str | Row, path: Path, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """What the network is trained on, y = a x0 + b eps. Implements :eq:`row`.

    parametrisation: a name of ``PARAMETRISATIONS`` or a function (path, t) -> (a, b). x0, eps: (B, ...), alike. t: () or (B,).
    Raises ``ValueError`` for an unknown parametrisation, shapes that differ, a time outside [0, 1] or one at which a or b is
    infinite. Source: Salimans and Ho, Progressive Distillation (2022), section 4 and appendix D, for x0, eps and v.

    >>> x0, eps, t = torch.ones(2, 3), torch.zeros(2, 3), torch.tensor(0.5)
    >>> tl.target("flow", tl.RectifiedFlow(), x0, eps, t)
    tensor([[-1., -1., -1.],
            [-1., -1., -1.]])
    """
    t = torch.as_tensor(t)
    expect(eps.shape == x0.shape, "eps", f"shape {tuple(eps.shape)}", f"the shape of x0, {tuple(x0.shape)}")
    in_range("t", t, 0.0, 1.0)
    a, b = (torch.as_tensor(c) for c in _row(parametrisation, path, t))
    if t.device.type == "cpu":
        expect(bool((a.isfinite() & b.isfinite()).all()), "t", t.tolist(), f"times at which {parametrisation!r} is finite")
    return mix(a, x0, b, eps)


def resolve(parametrisation: str | Row, path: Path, x: Tensor, t: Tensor, y: Tensor) -> Prediction:
    """Solve the two linear equations for x0 and eps. Implements :eq:`resolve`.

    x: noisy data at time t, y: the network's output, both (B, ...). t: () or (B,).
    Raises ``ValueError`` for an unknown parametrisation, shapes that differ, a time outside [0, 1] and where the output says
    nothing new: eps or score when alpha(t) = 0, x0 when sigma(t) = 0.
    Source: Salimans and Ho, Progressive Distillation (2022), appendix D, for v.

    >>> tl.resolve("eps", tl.RectifiedFlow(), x=torch.ones(1), t=torch.tensor(0.5), y=torch.zeros(1))
    Prediction(x0=tensor([2.]), eps=tensor([0.]))
    """
    expect(y.shape == x.shape, "y", f"shape {tuple(y.shape)}", f"the shape of x, {tuple(x.shape)}")
    inverse = path.at(t).value(parametrisation, lambda ts: _inverse(parametrisation, path, ts))
    a, b, c, d = inverse.unbind(-1) if isinstance(inverse, Tensor) else inverse
    return Prediction(mix(a, x, b, y), mix(c, x, d, y))


def _inverse(parametrisation: str | Row, path: Path, t: Tensor) -> Tensor:
    """The inverse of [[alpha, sigma], [a, b]] at times t (n,), row by row, (n, 4)."""
    in_range("t", t, 0.0, 1.0)
    alpha, sigma = path.alpha(t), path.sigma(t)
    a, b = _row(parametrisation, path, t)
    det = alpha * b - sigma * a
    if det.device.type == "cpu":
        lost = t[~(torch.isfinite(det) & (det != 0))]
        if lost.numel():
            raise ValueError(
                f"parametrisation={parametrisation!r}: at t={lost.tolist()} the output does not determine x0 and eps "
                "(alpha or sigma is 0)"
            )
    return torch.stack([b / det, -sigma / det, -a / det, alpha / det], dim=-1)
