"""Independent truths that several tests share: a path in closed form, and data whose diffusion is known exactly."""

import math
from dataclasses import dataclass
from functools import partial

import torch

from tinyldm import VP, DiscreteVP, Path, Prediction, RectifiedFlow


class Trigonometric(Path):
    """Only the two functions, as a reader would write them; f and g^2 are known: -pi/2 tan(pi t/2) and pi tan(pi t/2)."""

    t_max = 0.99

    def alpha(self, t):
        return torch.cos(math.pi / 2 * t)

    def sigma(self, t):
        return torch.sin(math.pi / 2 * t)


PATHS = {"VP": VP(), "gentle VP": VP(0.5, 6.0), "RectifiedFlow": RectifiedFlow(), "Trigonometric": Trigonometric()}
ALL_PATHS = {"argvalues": PATHS.values(), "ids": PATHS.keys()}  # for pytest.mark.parametrize("path", **ALL_PATHS)


SD = partial(DiscreteVP.from_betas, "scaled_linear", 0.00085, 0.012)
ZERO = SD(zero_terminal_snr=True)
TABLES = {
    "linear": DiscreteVP.from_betas(),
    "SD": SD(),
    "zero terminal": ZERO,
    "cosine": DiscreteVP.from_betas("cosine"),
    "ten": DiscreteVP.from_betas("scaled_linear", 0.05, 0.5, steps=10),
}


def times(path, n):
    """n times strictly inside the usable range, float64."""
    return torch.linspace(path.t_min, path.t_max, n + 2, dtype=torch.float64)[1:-1]


def scalar(t):
    return torch.tensor(t, dtype=torch.float64)


@dataclass(frozen=True)
class GaussianData:
    """x0 ~ N(mean, std^2) in every entry.

    Then x_t = alpha x0 + sigma eps is N(alpha mean, v) with v = alpha^2 std^2 + sigma^2. Since Cov(x0, x_t) = alpha std^2
    and Cov(eps, x_t) = sigma, conditioning a joint Gaussian gives
        E[x0 | x_t] = mean + alpha std^2 / v (x_t - alpha mean)  and  E[eps | x_t] = sigma / v (x_t - alpha mean).
    The probability flow transports quantiles, so it keeps (x_t - alpha mean) / sqrt(v) constant.
    Times are () or have the shape of x.
    """

    mean: float = 0.7
    std: float = 0.6

    def moments(self, path, t):
        """Mean and standard deviation of x_t."""
        alpha, sigma = path.alpha(t), path.sigma(t)
        return alpha * self.mean, torch.sqrt(alpha**2 * self.std**2 + sigma**2)

    def predict(self, path):
        def predict(x, t):
            mean, std = self.moments(path, t)
            z = (x - mean) / std**2
            return Prediction(self.mean + path.alpha(t) * self.std**2 * z, path.sigma(t) * z)

        return predict

    def flow(self, path, x, t, s):
        """Where the probability-flow ODE carries x from time t to time s."""
        (mean_t, std_t), (mean_s, std_s) = self.moments(path, t), self.moments(path, s)
        return mean_s + std_s * (x - mean_t) / std_t

    def density(self, path, t):
        """The distribution of x_t."""
        return torch.distributions.Normal(*self.moments(path, t))
