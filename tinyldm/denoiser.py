"""Network + path + parametrisation = a denoiser: from x_t to a Prediction."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .dynamics import Dynamics
from .errors import choose, expect
from .nn import Condition
from .nn.weights import described
from .path import Path, check_path
from .prediction import PARAMETRISATIONS, Predict, Prediction, Row, resolve


@dataclass(frozen=True)
class Denoiser:
    """A network (x, clock, cond) -> y read as a prediction of x0 and eps.

    net: called with x (B, ...), the path's clock (B,), and a ``Condition``. parametrisation: what its
    output means, a name of ``PARAMETRISATIONS`` or a function (path, t) -> (a, b). Raises ``ValueError`` for an unknown
    one and for a path that is none, see ``check_path``.

    >>> denoiser = tl.Denoiser(tl.nn.MLPConfig(dims=2).build(), tl.VP(), "v")
    >>> denoiser(torch.randn(5, 2), torch.tensor(0.5)).x0.shape
    torch.Size([5, 2])
    """

    net: torch.nn.Module
    path: Path
    parametrisation: str | Row

    def __post_init__(self) -> None:
        expect(callable(self.net), "net", repr(self.net), "a network, called with (x, clock, cond)")
        check_path(self.path)
        if not callable(self.parametrisation):
            choose("parametrisation", self.parametrisation, PARAMETRISATIONS)

    def output(self, x: Tensor, t: Tensor, cond: Condition | None = None) -> Tensor:
        """The network's raw output y, (B, ...). t: () or (B,). cond: of batch B, or of 1 for all samples."""
        clock = self.path.clock(t).to(x.device, torch.promote_types(x.dtype, torch.float32)).expand(len(x))
        return self.net(self.path.network_input(x, t), clock, (cond or Condition()).broadcast(len(x)))

    def __call__(self, x: Tensor, t: Tensor, cond: Condition | None = None) -> Prediction:
        """Predict x0 and eps, both (B, ...), from noisy x at time t in [0, 1].

        x: (B, ...). t: () or (B,). cond: see ``output``. Raises ``ValueError`` for a condition of another batch, what ``resolve``
        raises, and what the network does.
        """
        t = torch.as_tensor(t)
        return resolve(self.parametrisation, self.path, x, t, self.output(x, t, cond))

    def given(self, cond: Condition | None) -> Predict:
        """This denoiser with the condition fixed: a function of (x, t) alone."""
        return partial(self, cond=cond)

    def dynamics(self, cond: Condition | None = None) -> Dynamics:
        """What moves noise back to the data of this condition, on this denoiser's own path.

        >>> dynamics = tl.zoo.load("digits").denoiser.dynamics(tl.Condition([7]))
        >>> tl.sample(dynamics, torch.randn(1, 4, 8, 8), tl.grid(dynamics.path, 5), tl.ddim).shape
        torch.Size([1, 4, 8, 8])
        """
        return Dynamics(self.path, self.given(cond))

    def __repr__(self) -> str:
        return f"Denoiser({described(self.net)}, {self.path!r}, predicts {self.parametrisation!r})"
