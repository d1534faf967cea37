"""Network + path + parametrisation = a denoiser: from x_t to a Prediction. And guidance between two of them."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .dynamics import Dynamics
from .errors import choose, expect
from .nn import Condition
from .path import Path
from .prediction import PARAMETRISATIONS, Predict, Prediction, Row, resolve


@dataclass(frozen=True)
class Denoiser:
    """A network (x, clock, cond) -> y read as a prediction of x0 and eps.

    net: called with x (B, ...), the path's clock (B,), and a ``Condition``. parametrisation: what its
    output means. Raises ``ValueError`` for an unknown one.
    """

    net: torch.nn.Module
    path: Path
    parametrisation: str | Row

    def __post_init__(self) -> None:
        if not callable(self.parametrisation):
            choose("parametrisation", self.parametrisation, PARAMETRISATIONS)

    def output(self, x: Tensor, t: Tensor, cond: Condition | None = None) -> Tensor:
        """The network's raw output y, (B, ...). t: () or (B,)."""
        clock = self.path.clock(t).to(x.device, torch.promote_types(x.dtype, torch.float32)).expand(len(x))
        return self.net(self.path.network_input(x, t), clock, cond or Condition())

    def __call__(self, x: Tensor, t: Tensor, cond: Condition | None = None) -> Prediction:
        """Predict x0 and eps, both (B, ...), from noisy x at time t in [0, 1]."""
        t = torch.as_tensor(t)
        return resolve(self.parametrisation, self.path, x, t, self.output(x, t, cond))

    def given(self, cond: Condition | None) -> Predict:
        """This denoiser with the condition fixed: a function of (x, t) alone."""
        return partial(self, cond=cond)

    def dynamics(self, cond: Condition | None = None) -> Dynamics:
        """What moves noise back to the data of this condition, on this denoiser's own path."""
        return Dynamics(self.path, self.given(cond))


def guided(conditional: Predict, unconditional: Predict, scale: float) -> Predict:
    """Extrapolate from the unconditional prediction through the conditional one. Implements :eq:`cfg`.

    scale: 0 is unconditional, 1 conditional, above 1 exaggerates what the condition changes.
    Source: Ho and Salimans (2022), equation 6, where the weight w is our scale - 1.
    Raises ``ValueError`` for a scale that is negative or not a number.
    """
    expect(scale >= 0, "scale", scale, "a number >= 0 (0 = unconditional, 1 = conditional)")
    if scale in (0, 1):  # one of the two terms vanishes: do not compute it
        return conditional if scale == 1 else unconditional

    def predict(x: Tensor, t: Tensor) -> Prediction:
        on, off = conditional(x, t), unconditional(x, t)
        return Prediction(torch.lerp(off.x0, on.x0, scale), torch.lerp(off.eps, on.eps, scale))

    return predict
