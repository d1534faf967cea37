"""Floor 4: losses against explicit sums, torch.distributions and the errors that are left at the optimum."""

import numpy as np
import pytest
import torch
from oracles import GaussianData, scalar, times
from scipy import stats
from torch.distributions import Normal, kl_divergence

from tinyldm import PARAMETRISATIONS, VP, Condition, Denoiser, DiagonalGaussian, RectifiedFlow, seeded, target
from tinyldm.losses import autoencoder_loss, denoising_loss, stratified_times


@pytest.mark.equation("ae-loss")
@pytest.mark.parametrize("weight", [0.0, 1e-2, 3.0])
def test_autoencoder_loss_is_two_means(weight, rng):
    x, x_hat = (torch.rand(3, 2, 8, 8, generator=rng, dtype=torch.float64) for _ in range(2))
    mean, logvar = (torch.randn(3, 4, 2, 2, generator=rng, dtype=torch.float64) for _ in range(2))
    kl = kl_divergence(Normal(mean, (logvar / 2).exp()), Normal(0.0, 1.0)).numpy()  # one number a latent entry
    for i, loss in enumerate(autoencoder_loss(x, x_hat, DiagonalGaussian(mean, logvar), weight)):
        expected = np.mean((x[i] - x_hat[i]).numpy() ** 2) + weight * np.mean(kl[i])
        assert loss.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.equation("ae-loss")
def test_autoencoder_loss_does_not_depend_on_the_sizes(rng):
    """Tiling image and latent leaves it as it was: a weight found on small images is right for large ones."""
    x, x_hat = (torch.rand(2, 1, 4, 4, generator=rng) for _ in range(2))
    mean, logvar = (torch.randn(2, 2, 2, 2, generator=rng) for _ in range(2))
    small = autoencoder_loss(x, x_hat, DiagonalGaussian(mean, logvar), 0.5)
    x, x_hat, mean, logvar = (v.tile(1, 1, 3, 3) for v in (x, x_hat, mean, logvar))
    torch.testing.assert_close(autoencoder_loss(x, x_hat, DiagonalGaussian(mean, logvar), 0.5), small)


def test_autoencoder_loss_refuses_what_it_cannot_compare():
    q = DiagonalGaussian(torch.zeros(2, 1, 1, 1), torch.zeros(2, 1, 1, 1))
    with pytest.raises(ValueError, match="x_hat: expected the shape of x"):
        autoencoder_loss(torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 1), q, 0.1)
    with pytest.raises(ValueError, match="kl_weight: expected a number >= 0"):
        autoencoder_loss(torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4), q, -0.1)


class Function(torch.nn.Module):
    """A network made of a function of (x, clock, cond)."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x, t, cond):
        return self.function(x, t, cond)


@pytest.mark.equation("denoising-loss")
@pytest.mark.parametrize("row", PARAMETRISATIONS)
@pytest.mark.parametrize("path", [VP(), RectifiedFlow()], ids=["VP", "RectifiedFlow"])
def test_denoising_loss_is_the_mean_squared_error_to_the_target(path, row, rng):
    t = times(path, 4)
    x0, eps, guess = (torch.randn(4, 2, 3, 3, generator=rng, dtype=torch.float64) for _ in range(3))
    seen = []
    loss = denoising_loss(Denoiser(Function(lambda x, t, cond: (seen.append(x), guess)[1]), path, row), x0, eps, t)
    for i in range(4):
        a, b = float(path.alpha(t[i])), float(path.sigma(t[i]))
        np.testing.assert_allclose(seen[0][i], a * x0[i].numpy() + b * eps[i].numpy(), rtol=1e-12)
        y = target(row, path, x0[i : i + 1], eps[i : i + 1], t[i]).numpy()[0]  # checked by itself under eq:row
        assert loss[i].item() == pytest.approx(np.mean((guess[i].numpy() - y) ** 2), rel=1e-12)


@pytest.mark.equation("denoising-loss")
@pytest.mark.parametrize("row", ["eps", "x0"])
def test_the_best_network_is_left_with_the_posterior_variance(row, rng):
    """For x0 ~ N(m, s^2): Var(eps | x_t) = alpha^2 s^2 / v and Var(x0 | x_t) = sigma^2 s^2 / v, whatever the sample."""
    data, path, t = GaussianData(0.7, 0.6), VP(), scalar(0.3)
    predict = data.predict(path)
    best = Function(lambda x, clock, cond: getattr(predict(x, t), row))
    x0 = data.mean + data.std * torch.randn(4, 50_000, generator=rng, dtype=torch.float64)
    eps = torch.randn(x0.shape, generator=rng, dtype=torch.float64)
    loss = denoising_loss(Denoiser(best, path, row), x0, eps, t.expand(4)).mean().item()
    alpha2, sigma2 = float(path.alpha(t)) ** 2, float(path.sigma(t)) ** 2
    left = {"eps": alpha2, "x0": sigma2}[row] * 0.36 / (alpha2 * 0.36 + sigma2)
    assert loss == pytest.approx(left, rel=0.02)  # standard error: sqrt(2 / 200000) = 0.3%


def test_denoising_loss_hands_on_the_condition_and_gradients(rng):
    weight = torch.nn.Parameter(torch.ones(3))
    net = Function(lambda x, t, cond: weight[cond.label][:, None] * x)
    x = torch.randn(2, 5, generator=rng)
    t = torch.tensor([0.2, 0.8])
    denoising_loss(Denoiser(net, VP(), "eps"), x, x, t, Condition(torch.tensor([2, 0]))).sum().backward()
    assert weight.grad[1] == 0
    assert weight.grad[0] != 0
    assert weight.grad[2] != 0


@pytest.mark.parametrize("n", [1, 2, 64])
@pytest.mark.parametrize("path", [VP(), RectifiedFlow()], ids=["VP", "RectifiedFlow"])
def test_stratified_times_put_one_in_every_slice(path, n):
    t = stratified_times(path, n, seeded(0))
    assert t.shape == (n,)
    slices = ((t.double() - path.t_min) / (path.t_max - path.t_min) * n).floor()
    assert sorted(slices.int().tolist()) == list(range(n))


def test_stratified_times_are_uniform_shuffled_and_reproducible():
    draws = torch.stack([stratified_times(VP(), 8, seeded(i)) for i in range(500)])
    uniform = stats.uniform(1e-3, 0.999)
    assert stats.kstest(draws.flatten().numpy(), uniform.cdf).pvalue > 1e-4
    for position in (0, 7):  # a batch position is not tied to a noise level
        assert stats.kstest(draws[:, position].numpy(), uniform.cdf).pvalue > 1e-4
    assert torch.equal(stratified_times(VP(), 8, seeded(3)), draws[3])
    # what stratifying is for: the mean of 8 slices varies 8 times less than the mean of 8 free draws, std 1/sqrt(12 * 8)
    assert draws.mean(1).std().item() == pytest.approx(1 / (12 * 8**3) ** 0.5, rel=0.15)
