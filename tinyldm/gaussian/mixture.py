r"""The oracle: a mixture of Gaussians, whose noisy density, score and denoiser are exact on every path.

If :math:`x_0 \sim \sum_k w_k N(\mu_k, C_k)` then :math:`x_t \sim \sum_k w_k N(\alpha\mu_k, \alpha^2 C_k + \sigma^2)`. Inside a
component data and noise are jointly Gaussian, so their conditional means are linear in x; the mixture's are their averages,
weighted by how likely each component is to have made x. Everything is computed in float64.
"""

import math

import torch
from torch import Tensor

from ..broadcast import rows
from ..errors import expect, in_range, whole_number
from ..path import Path
from ..prediction import Predict, Prediction
from ..runtime import normal


class GaussianMixture:
    """sum_k weights_k N(means_k, stds_k^2 I) or sum_k weights_k N(means_k, covs_k).

    weights: (K,), adding up to 1. means: (K, D). Either stds: (K,) or covs: (K, D, D). Points are (B, D), or (B, ...) with
    D entries each. Raises ``ValueError`` for weights that are not a distribution, stds <= 0 or covariances that are not
    symmetric and positive definite.
    Source: Bishop, Pattern Recognition and Machine Learning (2006), sections 2.3.3 and 2.3.9.

    >>> data = tl.GaussianMixture(torch.tensor([0.5, 0.5]), torch.tensor([[-1.0], [1.0]]), torch.tensor([0.1, 0.1]))
    >>> data.log_prob(torch.tensor([[1.0]]))
    tensor([0.6905])
    """

    def __init__(self, weights: Tensor, means: Tensor, stds: Tensor | None = None, covs: Tensor | None = None) -> None:
        weights, means = (torch.as_tensor(value, dtype=torch.float64).detach().clone() for value in (weights, means))
        expect(means.ndim == 2, "means", f"shape {tuple(means.shape)}", "shape (K, D)")
        k, d = means.shape
        expect(weights.shape == (k,), "weights", f"shape {tuple(weights.shape)}", f"({k},), one for each mean")
        total = float(weights.sum())
        proper = bool((weights >= 0).all()) and math.isclose(total, 1, rel_tol=1e-5)
        expect(proper, "weights", f"{weights.tolist()}, sum {total:g}", "numbers >= 0 that add up to 1")
        expect(bool(means.isfinite().all()), "means", "NaN or infinity", "finite numbers")
        expect((stds is None) != (covs is None), "stds, covs", "both or neither", "exactly one of the two")
        self.weights, self.means = weights / total, means
        self.vectors: Tensor | None = None  # (K, D, D), the axes of each component; None where they are all alike
        if covs is None:
            stds = torch.as_tensor(stds, dtype=torch.float64)
            expect(stds.shape == (k,), "stds", f"shape {tuple(stds.shape)}", f"({k},), one for each mean")
            expect(bool((stds > 0).all() and stds.isfinite().all()), "stds", stds.tolist(), "finite numbers > 0")
            self.variances = (stds**2)[:, None]  # (K, 1)
        else:
            covs = torch.as_tensor(covs, dtype=torch.float64)
            expect(covs.shape == (k, d, d), "covs", f"shape {tuple(covs.shape)}", f"({k}, {d}, {d})")
            expect(bool(covs.isfinite().all()), "covs", "NaN or infinity", "finite numbers")
            expect(torch.allclose(covs, covs.mT), "covs", "an asymmetric matrix", "symmetric matrices")
            self.variances, self.vectors = torch.linalg.eigh(covs)  # (K, D), (K, D, D)
            least = float(self.variances.min())
            expect(least > 0, "covs", f"an eigenvalue {least:g}", "positive definite matrices")

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n independent points, (n, D), float64.

        Raises ``ValueError`` for n < 1.
        """
        n = whole_number("n", n, 1)
        chosen = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        noise = normal((n, self.means.shape[1]), generator, self.means) * self.variances[chosen].sqrt()
        if self.vectors is not None:
            noise = (self.vectors[chosen] @ noise[..., None]).squeeze(-1)
        return self.means[chosen] + noise

    def log_prob(self, x: Tensor, path: Path | None = None, t: Tensor | None = None) -> Tensor:
        """log density at x in nats, (B,): of the data, or of x_t when a path and a time are given. Implements :eq:`mixture`.

        x: (B, D) or (B, ...). t: () or (B,), in [0, 1]. Raises ``ValueError`` for x that are no floats or have another number of
        entries, a path without a time or a time without a path, and times of another shape or outside [0, 1].
        Source: Bishop (2006), section 2.3.9.
        """
        return _View(self, x, path, t).logs.logsumexp(1).to(x.dtype)

    def score(self, x: Tensor, path: Path, t: Tensor) -> Tensor:
        """The gradient of log p_t at x, (B, D). Implements :eq:`mixture-score`.

        Raises what ``log_prob`` raises. Source: Bishop (2006), section 2.3.9, differentiated.
        """
        view = _View(self, x, path, t)
        return -view.average(1.0).reshape(x.shape).to(x)

    def predict(self, path: Path) -> Predict:
        """The exact denoiser on this path: (x, t) -> the conditional means of x0 and eps. Implements :eq:`mixture-denoiser`.

        It raises what ``log_prob`` raises. Source: Bishop (2006), section 2.3.3, in each component.
        """

        def predict(x: Tensor, t: Tensor) -> Prediction:
            view = _View(self, x, path, t)
            means = view.shares @ self.means.to(view.shares)
            x0 = means + view.alpha * view.average(self.variances.to(view.shares))
            eps = view.sigma * view.average(1.0)
            return Prediction(x0.reshape(x.shape).to(x), eps.reshape(x.shape).to(x))

        return predict


class _View:
    """A mixture as seen from points x at time t.

    logs: log w_k N(x; alpha mu_k, V_k), (B, K), with V_k = alpha^2 C_k + sigma^2. shares: their softmax, how likely each
    component is to have made x. alpha, sigma: (1, 1) or (B, 1).
    """

    def __init__(self, mixture: GaussianMixture, x: Tensor, path: Path | None, t: Tensor | None) -> None:
        d = mixture.means.shape[1]
        expect(x.is_floating_point(), "x", x.dtype, "floating-point numbers")
        flat = rows(x).double()
        expect(flat.shape[1] == d, "x", f"{flat.shape[1]} entries a sample", f"{d}, the mixture's dimension")
        expect((path is None) == (t is None), "path, t", "one without the other", "both or neither")
        moment = None
        if path is not None and t is not None:
            t = torch.as_tensor(t)
            in_range("t", t, 0.0, 1.0)
            fits = t.ndim == 0 or t.shape == (len(x),)
            expect(fits, "t", f"shape {tuple(t.shape)}", f"shape () or ({len(x)},), one time a point")
            moment = path.at(t)
        factors = (1.0, 0.0) if moment is None else (moment.alpha, moment.sigma)
        self.alpha, self.sigma = (torch.as_tensor(c, dtype=torch.float64).to(flat).reshape(-1, 1) for c in factors)
        alpha, sigma = self.alpha[..., None], self.sigma[..., None]  # (1 or B, 1, 1)
        self.spread = alpha**2 * mixture.variances.to(flat) + sigma**2  # (1 or B, K, D or 1), the eigenvalues of V_k
        self.vectors = None if mixture.vectors is None else mixture.vectors.to(flat)
        self.away = flat[:, None] - alpha * mixture.means.to(flat)  # (B, K, D)
        if self.vectors is not None:
            self.away = torch.einsum("kij,bki->bkj", self.vectors, self.away)  # along each component's axes
        logdet = self.spread.log().sum(2) * (d // self.spread.shape[2])
        squares = (self.away**2 / self.spread).sum(2)
        self.logs = mixture.weights.to(flat).log() - (squares + logdet + d * math.log(2 * math.pi)) / 2

        self.shares = self.logs.softmax(1)

    def average(self, matrix: Tensor | float) -> Tensor:
        """The mean over components of M_k V_k^-1 (x - alpha mu_k), (B, D).

        matrix: M's eigenvalues, (K, D), (K, 1) or one number.
        """
        pulls = self.shares[..., None] * (matrix / self.spread) * self.away
        return pulls.sum(1) if self.vectors is None else torch.einsum("kij,bkj->bi", self.vectors, pulls)
