r"""Floor 2. What a network may predict: every parametrisation is one row (a, b), the target y = a x0 + b eps.

Together with :math:`x_t = \alpha x_0 + \sigma \varepsilon` a row makes two linear equations in two unknowns,
so one function turns any network's output into both the clean data and the noise.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import choose, in_range
from .path import Moment, Path
from .shapes import Number, mix


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


ROWS: dict[str, Row] = {
    "x0": lambda path, t: (torch.ones_like(t), torch.zeros_like(t)),
    "eps": lambda path, t: (torch.zeros_like(t), torch.ones_like(t)),
    "v": lambda path, t: (-path.sigma(t), path.alpha(t)),
    "score": lambda path, t: (torch.zeros_like(t), -1 / path.sigma(t)),
    "flow": lambda path, t: (path.d_alpha(t), path.d_sigma(t)),
    "edm": _edm,
}
PARAMETRIZATIONS = ROWS.keys()


def _row(row: str | Row, path: Path, t: Tensor) -> tuple[Tensor, Tensor]:
    return (row if callable(row) else choose("row", row, ROWS))(path, t)


def target(row: str | Row, path: Path, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """What the network is trained on, y = a x0 + b eps. Implements :eq:`row`.

    row: a name of ``PARAMETRIZATIONS`` or a function (path, t) -> (a, b). x0, eps: (B, ...). t: () or (B,).
    Raises ``ValueError`` for an unknown row or a time outside [0, 1].
    """
    in_range("t", t, 0.0, 1.0)
    a, b = _row(row, path, t)
    return mix(a, x0, b, eps)


def resolve(row: str | Row, path: Path, x: Tensor, t: Tensor, y: Tensor) -> Prediction:
    """Solve the two linear equations for x0 and eps. Implements :eq:`resolve`.

    x: noisy data at time t, y: the network's output, both (B, ...). t: () or (B,).
    Raises ``ValueError`` where the row says nothing new: eps or score when alpha(t) = 0, x0 when sigma(t) = 0.
    """
    moment = path.at(t)
    inverse = moment.inverses.get(row) or _inverse(row, moment)
    to_x0, to_eps = inverse[:2], inverse[2:]
    return Prediction(mix(to_x0[0], x, to_x0[1], y), mix(to_eps[0], x, to_eps[1], y))


def _inverse(row: str | Row, moment: Moment) -> tuple[Number, ...]:
    """The inverse of [[alpha, sigma], [a, b]] at one time, row by row; worked out once for each scalar time."""
    t = moment.t
    in_range("t", t, 0.0, 1.0)
    alpha, sigma = moment.path.alpha(t), moment.path.sigma(t)
    a, b = _row(row, moment.path, t)
    det = alpha * b - sigma * a
    if det.device.type == "cpu" and not (torch.isfinite(det) & (det != 0)).all():
        raise ValueError(
            f"row={row!r}: at t={t.flatten().tolist()} the output does not determine x0 and eps (alpha or sigma is 0)"
        )
    inverse = (b / det, -sigma / det, -a / det, alpha / det)
    if t.ndim:
        return inverse
    moment.inverses[row] = tuple(c.item() for c in inverse)
    return moment.inverses[row]
