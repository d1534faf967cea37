"""A path and a prediction make the reverse process: its score, its ODE, its family of SDEs."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .broadcast import expand, mix
from .errors import expect
from .path import Path
from .prediction import Predict


@dataclass(frozen=True)
class Dynamics:
    """What moves noise back to data. predict: (x, t) -> ``Prediction``."""

    path: Path
    predict: Predict

    def score(self, x: Tensor, t: Tensor) -> Tensor:
        """The gradient of log p_t at x, -eps/sigma, (B, ...). Implements :eq:`score`.

        Raises ``ValueError`` at a scalar time without noise, where the data may have no density.
        Source: Efron, Tweedie's Formula and Selection Bias (2011); Vincent (2011), appendix.
        """
        sigma = self.path.at(t).sigma
        expect(isinstance(sigma, Tensor) or sigma > 0, "t", "sigma(t) = 0", "a time with noise, for a score")
        return expand(-1 / sigma, x) * self.predict(x, t).eps

    def velocity(self, x: Tensor, t: Tensor) -> Tensor:
        """dx/dt of the probability-flow ODE, alpha' x0 + sigma' eps, (B, ...). Implements :eq:`velocity`.

        Source: Song et al. (2021), section 4.3; Lipman et al. (2023), theorem 1.
        Raises ``ValueError`` at a scalar time at which sigma has no finite slope, t = 0 on most paths.
        """
        moment = self.path.at(t)
        finite = isinstance(moment.d_sigma, Tensor) or math.isfinite(moment.d_sigma)
        expect(finite, "t", "sigma'(t) infinite", "a time at which sigma has a slope")
        p = self.predict(x, t)
        return mix(moment.d_alpha, p.x0, moment.d_sigma, p.eps)

    def reverse(self, x: Tensor, t: Tensor, eta: float) -> tuple[Tensor, Tensor]:
        """Drift and diffusion of the reverse SDE with noise level eta: 0 is the ODE, 1 is Anderson's.

        Implements :eq:`reverse-family`:
        dx = [f x - (1 + eta^2)/2 g^2 score] dt + eta g dW, with dt < 0. Both are (B, ...).
        Source: Anderson (1982); Zhang and Chen, Fast Sampling of Diffusion Models with Exponential Integrator
        (2023), equation 4. Raises ``ValueError`` for a negative eta, and at a scalar time without data or without noise.
        """
        expect(eta >= 0, "eta", eta, "a number >= 0 (0 = the ODE, 1 = Anderson's reverse SDE)")
        t = torch.as_tensor(t)
        moment = self.path.at(t)
        expect(isinstance(moment.alpha, Tensor) or moment.alpha > 0, "t", "alpha(t) = 0", "a time at which data is left")
        f, g2 = self.path.f(t), self.path.g2(t)
        drift = mix(f, x, -(1 + eta**2) / 2 * g2, self.score(x, t))
        return drift, torch.as_tensor(expand(eta * torch.sqrt(g2), x)).to(x).expand_as(x)
