"""What a denoiser minimises: the squared error of its target, and score matching with its weightings."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..broadcast import expand, rows
from ..denoiser import Denoiser
from ..dynamics import Dynamics
from ..errors import choose, expect
from ..nn.condition import Condition
from ..path import Path
from ..prediction import target


def denoising_loss(denoiser: Denoiser, x0: Tensor, eps: Tensor, t: Tensor, cond: Condition | None = None) -> Tensor:
    """Squared error of the network's output against its target, a mean over entries, (B,). Implements :eq:`denoising-loss`.

    x0, eps: (B, ...), alike. t: (B,) in [0, 1]. The parametrisation decides what the target is, and with
    it the implied weighting. Raises what ``Path.marginal`` and ``target`` raise, and ``ValueError`` for a network whose output
    is not like the data.
    Source: Ho et al. (2020), equation 14; Salimans and Ho (2022), section 4, for targets other than the noise.
    """
    path = denoiser.path
    y, wanted = denoiser.output(path.marginal(x0, eps, t), t, cond), target(denoiser.parametrisation, path, x0, eps, t)
    expect(y.shape == wanted.shape, "denoiser", f"output of shape {tuple(y.shape)}", f"{tuple(wanted.shape)}, as the data")
    return rows((y - wanted) ** 2).mean(1)


MIN_SNR = 5.0  # the signal-to-noise ratio above which a time counts no more, in Hang et al.'s choice
WEIGHTINGS: dict[str, Callable[[Path, Tensor], Tensor]] = {
    "score": lambda path, t: torch.ones_like(t),
    "simple": lambda path, t: path.sigma(t) ** 2,
    "likelihood": lambda path, t: path.g2(t),
    "min_snr": lambda path, t: path.sigma(t) ** 2 * (MIN_SNR * torch.exp(-path.log_snr(t))).clamp(max=1),
}


def score_matching_loss(dynamics: Dynamics, x0: Tensor, eps: Tensor, t: Tensor, weighting: str = "simple") -> Tensor:
    """weight(t) |score(x_t) + eps / sigma|^2, summed over entries, (B,). Implements :eq:`score-matching`.

    x0, eps: (B, ...), alike. t: (B,). weighting: "score", 1; "simple", sigma^2, which leaves the squared error of eps;
    "likelihood", g^2, half of whose integral over t is the diffusion part of the ELBO in nats; "min_snr",
    sigma^2 min(1, 5/SNR), which weighs the squared error of x0 with min(SNR, 5).
    Raises ``ValueError`` for an unknown weighting, and what ``Path.marginal`` raises.
    Source: Vincent (2011), equation 11; Song et al. (2021), equation 7; Song, Durkan et al. (2021), theorem 1; Hang et al.,
    Efficient Diffusion Training via Min-SNR Weighting Strategy (2023).
    """
    path = dynamics.path
    error = dynamics.score(path.marginal(x0, eps, t), t) + expand(1 / path.sigma(t), eps) * eps
    return choose("weighting", weighting, WEIGHTINGS)(path, t) * rows(error**2).sum(1)
