"""Floor 3: score, probability flow and reverse SDEs against exact densities, exact trajectories and exact moments."""

import pytest
import torch
from oracles import ALL_PATHS, GaussianData, scalar, times
from torch.distributions import Categorical, MixtureSameFamily, Normal

from tinyldm import VP, Dynamics, Prediction

DATA = GaussianData(mean=0.7, std=0.6)


@pytest.mark.equation("score")
@pytest.mark.parametrize("path", **ALL_PATHS)
def test_score_is_the_gradient_of_the_log_density(path, rng):
    t = times(path, 9)
    x = torch.randn(9, dtype=torch.float64, generator=rng).requires_grad_()
    (expected,) = torch.autograd.grad(DATA.density(path, t).log_prob(x).sum(), x)
    score = Dynamics(path, DATA.predict(path)).score(x.detach(), t)
    torch.testing.assert_close(score, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.equation("score")
def test_score_of_a_mixture(rng):
    """Two components of standard deviation 0.3: x0's posterior mean by Bayes, the score by autograd of the mixture."""
    path, t = VP(), scalar(0.3)
    alpha, sigma = path.alpha(t), path.sigma(t)
    weights, means = torch.tensor([0.3, 0.7], dtype=torch.float64), torch.tensor([-1.0, 1.5], dtype=torch.float64)
    std = torch.sqrt(alpha**2 * 0.09 + sigma**2)
    parts = Normal(alpha * means, std)

    def predict(x, t):
        share = torch.softmax(weights.log() + parts.log_prob(x[:, None]), dim=1)
        x0 = (share * (means + alpha * 0.09 / std**2 * (x[:, None] - alpha * means))).sum(1)
        return Prediction(x0, (x - alpha * x0) / sigma)

    x = torch.linspace(-2, 2, 15, dtype=torch.float64, requires_grad=True)
    density = MixtureSameFamily(Categorical(weights), Normal(alpha * means, std.expand(2)))
    (expected,) = torch.autograd.grad(density.log_prob(x).sum(), x)
    torch.testing.assert_close(Dynamics(path, predict).score(x.detach(), t), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.equation("velocity")
@pytest.mark.parametrize("path", **ALL_PATHS)
def test_velocity_is_the_time_derivative_of_the_exact_trajectory(path, rng):
    start = scalar(0.5)
    x = torch.randn(9, dtype=torch.float64, generator=rng)
    for s in times(path, 7):
        free = s.expand(9).clone().requires_grad_()  # one clock a trajectory: the gradient of the sum is each one's speed
        position = DATA.flow(path, x, start, free)
        (speed,) = torch.autograd.grad(position.sum(), free)
        velocity = Dynamics(path, DATA.predict(path)).velocity(position.detach(), s)
        torch.testing.assert_close(velocity, speed, rtol=1e-9, atol=1e-9)


@pytest.mark.equation("velocity")
@pytest.mark.parametrize("path", **ALL_PATHS)
def test_velocity_is_song_s_formula(path, rng):
    """f x - g^2 score / 2: an identity between the two papers, with drift and diffusion from ``Path``."""
    t = times(path, 9)
    x = torch.randn(9, dtype=torch.float64, generator=rng)
    dynamics = Dynamics(path, DATA.predict(path))
    mean, std = DATA.moments(path, t)
    expected = path.f(t) * x - path.g2(t) / 2 * (mean - x) / std**2
    torch.testing.assert_close(dynamics.velocity(x, t), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.equation("reverse-family")
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("path", **ALL_PATHS)
def test_every_reverse_sde_keeps_the_marginals(path, eta):
    """For a linear drift A x + b and diffusion G, run backwards, mean and variance obey m' = A m + b, v' = 2 A v - G^2.

    The minus sign is time's: noise adds variance while t falls. Both must be the slopes of the known moments of x_t.
    """
    dynamics = Dynamics(path, DATA.predict(path))
    for t in times(path, 7):
        drift, diffusion = dynamics.reverse(torch.tensor([0.0, 1.0], dtype=torch.float64), t, eta)
        a, b, g = drift[1] - drift[0], drift[0], diffusion[0]
        clock = t.clone().requires_grad_()
        mean, std = DATA.moments(path, clock)
        (mean_slope,) = torch.autograd.grad(mean, clock, retain_graph=True)
        (variance_slope,) = torch.autograd.grad(std**2, clock)
        mean, std = mean.detach(), std.detach()
        torch.testing.assert_close(a * mean + b, mean_slope, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(2 * a * std**2 - g**2, variance_slope, rtol=1e-8, atol=1e-8)


@pytest.mark.equation("reverse-family")
@pytest.mark.parametrize("path", **ALL_PATHS)
def test_the_family_s_two_ends(path, rng):
    """eta 0 is the probability flow without noise; eta 1 is Anderson's f x - g^2 score with the forward process's own noise."""
    t = times(path, 9)
    x = torch.randn(9, dtype=torch.float64, generator=rng)
    dynamics = Dynamics(path, DATA.predict(path))
    mean, std = DATA.moments(path, t)
    drift, diffusion = dynamics.reverse(x, t, 0.0)
    torch.testing.assert_close(drift, dynamics.velocity(x, t), rtol=1e-9, atol=1e-9)
    assert torch.equal(diffusion, torch.zeros_like(x))
    drift, diffusion = dynamics.reverse(x, t, 1.0)
    torch.testing.assert_close(drift, path.f(t) * x - path.g2(t) * (mean - x) / std**2, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(diffusion**2, path.g2(t))


def test_the_noise_of_vp_is_beta():
    t = times(VP(), 5)
    _, diffusion = Dynamics(VP(), DATA.predict(VP())).reverse(torch.zeros(5, dtype=torch.float64), t, 1.0)
    torch.testing.assert_close(diffusion**2, 0.1 + 19.9 * t)


@pytest.mark.parametrize("t", [torch.tensor(0.4), torch.tensor([0.2, 0.4, 0.6])], ids=["one time", "a time a sample"])
def test_images_are_moved_pixel_by_pixel(t, rng):
    x = torch.randn(3, 2, 4, 4, generator=rng)
    predict = GaussianData().predict(VP())
    dynamics = Dynamics(VP(), lambda x, t: predict(x, t.reshape(-1, 1, 1, 1)))
    drift, diffusion = dynamics.reverse(x, t, 1.0)
    for value in (dynamics.score(x, t), dynamics.velocity(x, t), drift, diffusion):
        assert value.shape == x.shape
        assert value.dtype == torch.float32
    for i in range(3):
        alone = dynamics.velocity(x[i : i + 1], t if t.ndim == 0 else t[i : i + 1])
        torch.testing.assert_close(dynamics.velocity(x, t)[i : i + 1], alone)


def test_a_negative_noise_level_and_a_score_without_noise_are_refused(rng):
    dynamics, x = Dynamics(VP(), DATA.predict(VP())), torch.randn(3, generator=rng)
    with pytest.raises(ValueError, match="eta: expected a number >= 0"):
        dynamics.reverse(x, torch.tensor(0.4), -0.5)
    with pytest.raises(ValueError, match=r"t: expected a time with noise, for a score, got sigma\(t\) = 0"):
        dynamics.score(x, torch.tensor(0.0))
