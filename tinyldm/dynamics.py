"""Floor 3. A path and a prediction make the reverse process: its score, its ODE, its family of SDEs."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .path import Path
from .prediction import Predict
from .shapes import expand


@dataclass(frozen=True)
class Dynamics:
    """What moves noise back to data. predict: (x, t) -> ``Prediction``."""

    path: Path
    predict: Predict

    def score(self, x: Tensor, t: Tensor) -> Tensor:
        """The gradient of log p_t at x, -eps/sigma, (B, ...). Implements :eq:`score`."""
        return -self.predict(x, t).eps / expand(self.path.sigma(t), x)

    def velocity(self, x: Tensor, t: Tensor) -> Tensor:
        """dx/dt of the probability-flow ODE, alpha' x0 + sigma' eps, (B, ...). Implements :eq:`velocity`.

        Source: Song et al. (2021), section 4.3; Lipman et al. (2023), theorem 1.
        """
        p = self.predict(x, t)
        return expand(self.path.d_alpha(t), x) * p.x0 + expand(self.path.d_sigma(t), x) * p.eps

    def reverse(self, x: Tensor, t: Tensor, eta: float) -> tuple[Tensor, Tensor]:
        """Drift and diffusion of the reverse SDE with noise level eta: 0 is the ODE, 1 is Anderson's.

        dx = [f x - (1 + eta^2)/2 g^2 score] dt + eta g dW, with dt < 0. Both are (B, ...).
        Source: Anderson (1982); Zhang and Chen, Fast Sampling of Diffusion Models with Exponential Integrator
        (2023), equation 4.
        """
        g2 = self.path.g2(t)
        drift = expand(self.path.f(t), x) * x - expand((1 + eta**2) / 2 * g2, x) * self.score(x, t)
        return drift, expand(eta * torch.sqrt(g2), x).to(x).expand_as(x)
