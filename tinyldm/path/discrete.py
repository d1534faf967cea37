"""The path of a DDPM table: what the schedules of Stable Diffusion are in continuous time."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..errors import choose, expect, whole_number
from .base import Path


def _cosine(_start: float, _end: float, steps: int) -> Tensor:
    """Nichol and Dhariwal (2021), section 3.2: beta from the ratio of neighbouring alpha-bars, capped at 0.999."""
    t = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    alpha_bar = torch.cos((t + 0.008) / 1.008 * torch.pi / 2) ** 2
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=0.999)


BETAS: dict[str, Callable[[float, float, int], Tensor]] = {
    "linear": lambda start, end, steps: torch.linspace(start, end, steps, dtype=torch.float64),
    "scaled_linear": lambda start, end, steps: torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2,
    "cosine": _cosine,
}


@dataclass(frozen=True, eq=False)
class DiscreteVP(Path):
    """A table of T values of alpha^2 as a variance-preserving path: entry k lies at t = (k + 1) / T, t = 0 is clean data.

    In between alpha is a monotone cubic (scipy's PCHIP), so that every derived quantity exists; at the entries it is the
    table. A network sees the entry's number, 0 ... T - 1. The last entry may be 0: zero terminal signal-to-noise ratio.
    Raises ``ValueError`` unless alphas_cumprod is a falling vector of numbers in [0, 1).
    Source: Ho et al. (2020), section 2, for the table.
    """

    constant = True

    alphas_cumprod: Tensor
    t_min: float = field(init=False)
    t_max: float = field(init=False, default=1.0)

    def __post_init__(self) -> None:
        table = torch.as_tensor(self.alphas_cumprod, dtype=torch.float64).detach().cpu().clone()
        expect(table.ndim == 1 and len(table) >= 2, "alphas_cumprod", f"shape {tuple(table.shape)}", "a vector (T,), T >= 2")
        falls = bool((table.diff() < 0).all() and table[0] < 1 and table[-1] >= 0)
        expect(falls, "alphas_cumprod", f"{table[0]:g} ... {table[-1]:g}", "falling values in [0, 1)")
        from scipy.interpolate import PchipInterpolator  # here, so that the library's import does not wait for it

        alpha = np.concatenate([[1.0], table.sqrt().numpy()])
        gone = np.concatenate([[0.0], (1 - table).numpy() / (1 + table.sqrt().numpy())])  # 1 - alpha, all its digits
        places = np.linspace(0, 1, len(alpha))
        a, b, c, _d = torch.from_numpy(PchipInterpolator(places, alpha).c)  # cubics in t - k/T, highest power first
        h = 1 / len(table)  # alpha's are written from their right ends, so that the last entry, maybe 0, is met exactly
        right = torch.stack([a, b + 3 * a * h, c + 2 * b * h + 3 * a * h**2, table.sqrt()])
        for name, value in (
            ("alphas_cumprod", table),
            ("t_min", 1 / len(table)),
            ("_alpha", right),  # (4, T), in t - (k + 1)/T
            ("_gone", torch.from_numpy(PchipInterpolator(places, gone).c)),  # (4, T), in t - k/T
        ):
            object.__setattr__(self, name, value)

    @classmethod
    def from_betas(
        cls,
        kind: str = "linear",
        beta_start: float = 1e-4,
        beta_end: float = 0.02,
        steps: int = 1000,
        zero_terminal_snr: bool = False,
    ) -> "DiscreteVP":
        """The table of a DDPM schedule, alpha^2 = product of (1 - beta).

        kind: "linear" (DDPM), "scaled_linear" (Stable Diffusion: linear in the root of beta) or "cosine" (which has no
        start and end; in continuous time it is ``CosineVP``). zero_terminal_snr: shift and stretch alpha so that the last
        entry is exactly 0 and the first stays.
        Source: Ho et al. (2020), section 4; Nichol and Dhariwal (2021), equation 17; Lin et al., Common Diffusion Noise
        Schedules and Sample Steps are Flawed (2024), algorithm 1.
        Raises ``ValueError`` for an unknown kind, betas outside (0, 1) or fewer than two steps.

        >>> tl.DiscreteVP.from_betas("scaled_linear", 0.00085, 0.012)
        DiscreteVP(1000 steps, alphas_cumprod 0.9991 ... 0.00466)
        """
        steps = whole_number("steps", steps, 2)
        ordered = 0 < beta_start <= beta_end < 1
        expect(ordered, "beta_start, beta_end", (beta_start, beta_end), "0 < beta_start <= beta_end < 1")
        betas = choose("kind", kind, BETAS)(beta_start, beta_end, steps)
        alpha = torch.cumprod(1 - betas, 0).sqrt()
        if zero_terminal_snr:
            alpha = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
        return cls(alpha**2)

    def __repr__(self) -> str:
        return f"DiscreteVP({self.steps} steps, alphas_cumprod {self.alphas_cumprod[0]:.4g} ... {self.alphas_cumprod[-1]:.4g})"

    @property
    def steps(self) -> int:
        """T, the number of entries."""
        return len(self.alphas_cumprod)

    def _cubic(self, pieces: Tensor, t: Tensor, end: int) -> Tensor:
        time = (t.cpu() if t.device.type == "mps" else t).double()  # MPS has no float64
        piece = (time.detach() * self.steps).long().clamp(0, self.steps - 1)
        u = time - (piece + end).double() / self.steps
        a, b, c, d = pieces.to(time.device)[:, piece]
        return (d + u * (c + u * (b + u * a))).to(t)

    def alpha(self, t: Tensor) -> Tensor:
        """The root of the table's alpha^2, in between the cubic."""
        return self._cubic(self._alpha, t, end=1)  # type: ignore[attr-defined]

    def sigma(self, t: Tensor) -> Tensor:
        """sqrt(1 - alpha^2) from 1 - alpha, which is interpolated on its own so that nothing cancels."""
        gone = self._cubic(self._gone, t, end=0)  # type: ignore[attr-defined]
        return torch.sqrt(gone * (2 - gone))

    def clock(self, t: Tensor) -> Tensor:
        """The entry's number, T t - 1: 0 ... T - 1 from t_min to t_max."""
        return self.steps * t - 1
