"""Floor 1: the diagonal Gaussian against torch.distributions, quadrature and its own samples."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import quad
from torch.distributions import Independent, Normal, kl_divergence

from tinyldm import DiagonalGaussian, reparameterize

SHAPES = [(3,), (3, 4), (3, 2, 4, 5)]


@pytest.fixture(params=SHAPES, ids=str)
def gaussian(request, rng):
    mean, logvar = (torch.randn(request.param, generator=rng, dtype=torch.float64) for _ in range(2))
    return DiagonalGaussian(mean, logvar)


def truth(gaussian):
    normal = Normal(gaussian.mean, torch.exp(gaussian.logvar) ** 0.5)
    return Independent(normal, gaussian.mean.ndim - 1)


@pytest.mark.equation("kl-gaussian")
def test_kl_is_the_sum_over_all_but_the_batch(gaussian):
    zero = torch.zeros_like(gaussian.mean)
    standard = Independent(Normal(zero, zero + 1), zero.ndim - 1)
    torch.testing.assert_close(gaussian.kl(), kl_divergence(truth(gaussian), standard), rtol=1e-12, atol=1e-12)
    assert gaussian.kl().shape == (3,)


@pytest.mark.equation("kl-gaussian")
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1.5, 0.3), (-0.4, 2.5)])
def test_kl_is_the_integral_it_stands_for(mean, std):
    q, p = stats.norm(mean, std), stats.norm()
    integral, _ = quad(
        lambda x: q.pdf(x) * (q.logpdf(x) - p.logpdf(x)), mean - 12 * std, mean + 12 * std, epsabs=1e-11, limit=200
    )
    one = DiagonalGaussian(torch.tensor([[mean]], dtype=torch.float64), torch.tensor([[std]], dtype=torch.float64).log() * 2)
    np.testing.assert_allclose(one.kl(), [integral], atol=1e-9)


def test_nll_is_minus_the_log_density(gaussian, rng):
    x = torch.randn(gaussian.mean.shape, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(gaussian.nll(x), -truth(gaussian).log_prob(x), rtol=1e-12, atol=1e-12)


def test_mode_maximises_the_density(gaussian):
    assert torch.equal(gaussian.mode(), truth(gaussian).mode)
    assert (gaussian.nll(gaussian.mode()) < gaussian.nll(gaussian.mode() + 0.01)).all()


def test_std_is_not_the_variance(gaussian):
    torch.testing.assert_close(gaussian.std, truth(gaussian).stddev)


@pytest.mark.equation("reparameterize")
def test_reparameterize_carries_quantiles_of_noise_to_quantiles_of_the_gaussian():
    u = np.linspace(0.01, 0.99, 21)
    mean, std = torch.tensor(0.8, dtype=torch.float64), torch.tensor(2.5, dtype=torch.float64)
    moved = reparameterize(mean, std, torch.from_numpy(stats.norm.ppf(u)))
    np.testing.assert_allclose(moved, stats.norm(0.8, 2.5).ppf(u), rtol=1e-12)


@pytest.mark.equation("reparameterize")
def test_reparameterize_lets_gradients_through(rng):
    """d/dmean and d/dstd of E[x^2] = mean^2 + std^2 are 2 mean and 2 std; estimated through the samples."""
    mean, std = torch.tensor(0.8, requires_grad=True), torch.tensor(1.5, requires_grad=True)
    x = reparameterize(mean, std, torch.randn(200_000, generator=rng))
    by_mean, by_std = torch.autograd.grad((x**2).mean(), (mean, std))
    assert by_mean.item() == pytest.approx(1.6, abs=0.04)  # five standard errors: 2 * 1.5 / sqrt(200000) * 5
    assert by_std.item() == pytest.approx(3.0, abs=0.06)


def test_samples_have_the_right_distribution(rng):
    n = 50_000
    mean, logvar = torch.tensor([0.5, -2.0]), torch.tensor([1.2, -3.0])
    x = DiagonalGaussian(mean.expand(n, 2), logvar.expand(n, 2)).sample(rng)
    for column, m, v in zip(x.T, mean.tolist(), logvar.exp().tolist()):
        assert stats.kstest(column.numpy(), stats.norm(m, v**0.5).cdf).pvalue > 1e-4
    assert abs(np.corrcoef(x.T)[0, 1]) < 0.03


def test_samples_depend_on_the_generator_only(gaussian):
    torch.manual_seed(1)
    a = gaussian.sample(torch.Generator().manual_seed(7))
    torch.manual_seed(2)
    b = gaussian.sample(torch.Generator().manual_seed(7))
    assert torch.equal(a, b)
    assert a.dtype == torch.float64
    noise = torch.randn(gaussian.mean.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    assert torch.equal(gaussian.sample_with(noise), a)


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"logvar: expected the shape of mean, \(2, 3\), got shape \(2, 1\)"):
        DiagonalGaussian(torch.zeros(2, 3), torch.zeros(2, 1))
