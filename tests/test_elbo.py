"""Floor 4: the variational bound term by term: Ho's beta form, Bayes' rule, exact likelihoods and quadrature."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from oracles import GaussianData, scalar
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import norm
from torch.distributions import Independent, Normal, kl_divergence

from tinyldm import VE, VP, CosineVP, DiscreteVP, Dynamics, Prediction, RectifiedFlow, kl_diagonal_gaussians, seeded
from tinyldm.likelihood import continuous_bound, discrete_bound, elbo_weights

DATA = GaussianData(0.7, 0.6)
DDPM = DiscreteVP.from_betas()


@pytest.mark.equation("kl-two-gaussians")
@pytest.mark.parametrize("shape", [(3,), (3, 4), (3, 2, 4, 5)], ids=str)
def test_kl_of_two_gaussians_is_the_sum_over_all_but_the_batch(shape, rng):
    mean1, logvar1, mean2, logvar2 = (torch.randn(shape, generator=rng, dtype=torch.float64) for _ in range(4))
    first, second = (Independent(Normal(m, torch.exp(v) ** 0.5), len(shape) - 1) for m, v in ((mean1, logvar1), (mean2, logvar2)))
    found = kl_diagonal_gaussians(mean1, logvar1, mean2, logvar2)
    torch.testing.assert_close(found, kl_divergence(first, second), rtol=1e-11, atol=1e-11)
    assert found.shape == (3,)
    assert torch.equal(kl_diagonal_gaussians(mean1, logvar1, mean1, logvar1), torch.zeros(3).double())


@pytest.mark.equation("kl-two-gaussians")
@pytest.mark.parametrize(("m1", "s1", "m2", "s2"), [(0.0, 1.0, 1.5, 0.7), (-0.4, 2.5, 0.3, 3.0)])
def test_kl_of_two_gaussians_is_the_integral_it_stands_for(m1, s1, m2, s2):
    p, q = norm(m1, s1), norm(m2, s2)
    truth, _ = quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), m1 - 12 * s1, m1 + 12 * s1, epsabs=1e-11)
    given = (torch.tensor([[v]], dtype=torch.float64) for v in (m1, 2 * math.log(s1), m2, 2 * math.log(s2)))
    assert kl_diagonal_gaussians(*given).item() == pytest.approx(truth, rel=1e-8)


def test_kl_of_nearly_equal_variances_does_not_cancel():
    zero, shift = torch.zeros(1, 1), torch.full((1, 1), 1e-3)  # float32: exp(d) - 1 - d = d^2 / 2 + d^3 / 6 + ...
    assert kl_diagonal_gaussians(zero, shift, zero, zero).item() == pytest.approx((1e-6 / 2 + 1e-9 / 6) / 2, rel=2e-3)


def test_kl_refuses_shapes_that_differ():
    x, y = torch.zeros(2, 3), torch.zeros(2, 1)
    for given, name in (((x, y, x, x), "logvar"), ((x, x, x, y), "logvar"), ((x, x, y, y), "mean2")):
        with pytest.raises(ValueError, match=f"{name}: expected the shape of mean"):
            kl_diagonal_gaussians(*given)


@pytest.mark.equation("elbo-weights")
def test_the_weights_of_neighbouring_entries_are_ho_s_beta_form():
    """beta_t^2 / (2 posterior variance, (1 - beta_t), (1 - alpha-bar_t)) of Ho et al.'s equation 12, for t = 2 ... 1000."""
    beta = np.linspace(1e-4, 0.02, 1000)
    bar = np.cumprod(1 - beta)
    variance = beta[1:] * (1 - bar[:-1]) / (1 - bar[1:])
    truth = beta[1:] ** 2 / (2 * variance * (1 - beta[1:]) * (1 - bar[1:]))
    ts = torch.arange(1000, 0, -1, dtype=torch.float64) / 1000
    found = elbo_weights(DDPM, ts).numpy()[::-1]
    np.testing.assert_allclose(found, truth, rtol=1e-8)
    assert found[0] == pytest.approx(0.5997, abs=5e-5)
    assert found[-1] == pytest.approx(0.0102, abs=5e-5)


def guess(x, t, path):
    """A stand-in for a trained network: some noise in x, and the data that go with it."""
    eps = torch.tanh(x + t)
    return Prediction((x - path.sigma(t) * eps) / path.alpha(t), eps)


def between(path, x0, x, s, t):
    """q(x_s | x_t, x0) by Bayes, precisions adding up: a prior N(alpha_s x0, sigma_s^2) and a likelihood of x_t."""
    a, b = (path.alpha(u).item() for u in (s, t))
    prior, step = path.sigma(s).item() ** 2, b / a
    noise = path.sigma(t).item() ** 2 - step**2 * prior
    precision = 1 / prior + step**2 / noise
    return (a * x0 / prior + step * x / noise) / precision, torch.full_like(x, -math.log(precision))


@pytest.mark.equation("elbo")
@pytest.mark.equation("discrete-elbo")
@pytest.mark.parametrize("path", [VP(), RectifiedFlow(), VE(), DDPM], ids=lambda p: type(p).__name__)
def test_every_term_is_the_divergence_of_its_two_gaussians(path, rng):
    ts, seen = torch.tensor([0.95, 0.7, 0.4, 0.05], dtype=torch.float64), []
    x0 = torch.randn(5, 2, 3, dtype=torch.float64, generator=rng)

    def predict(x, t):
        p = guess(x, t, path)
        seen.append((x, p.x0))
        return p

    bound = discrete_bound(Dynamics(path, predict), x0, ts, seeded(1))
    assert len(seen) == 4
    for i, (x, x0_hat) in enumerate(seen[:3]):
        q, p = (between(path, clean, x, ts[i + 1], ts[i]) for clean in (x0, x0_hat))
        torch.testing.assert_close(bound.diffusion[i], kl_diagonal_gaussians(*q, *p), rtol=1e-7, atol=1e-9)
        noise = (x - path.alpha(ts[i]) * x0) / path.sigma(ts[i])
        assert 0.4 < noise.std().item() < 1.7  # 30 standard normal numbers
    x, x0_hat = seen[3]
    level = (path.sigma(ts[3]) / path.alpha(ts[3])).item()
    nll = -Independent(Normal(x0_hat, level), 2).log_prob(x0)
    torch.testing.assert_close(bound.reconstruction, nll, rtol=1e-9, atol=1e-9)
    last = [Independent(Normal(mean, path.sigma(ts[0]).item()), 2) for mean in (path.alpha(ts[0]) * x0, 0 * x0)]
    torch.testing.assert_close(bound.prior, kl_divergence(*last), rtol=1e-9, atol=1e-9)
    parts = [bound.prior, *bound.diffusion, bound.reconstruction]
    torch.testing.assert_close(bound.total, torch.stack(parts).sum(0), rtol=1e-12, atol=0)
    assert (bound.diffusion.shape, bound.total.shape) == ((3, 5), (5,))


def test_the_noises_of_the_terms_are_independent():
    seen, ts = [], torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64)

    def predict(x, t):
        seen.append(((x - VP().alpha(t) * 0.3) / VP().sigma(t)).numpy())
        return guess(x, t, VP())

    discrete_bound(Dynamics(VP(), predict), torch.full((20_000,), 0.3, dtype=torch.float64), ts, seeded(1))
    assert np.abs(np.corrcoef(seen) - np.eye(3)).max() < 4.5 / math.sqrt(20_000)
    assert np.var(seen, axis=1) == pytest.approx(np.ones(3), abs=4.5 * math.sqrt(2 / 20_000))


@pytest.mark.equation("discrete-elbo")
def test_the_bound_is_above_the_likelihood_and_comes_down_to_it():
    """Of Gaussian data with the exact denoiser, E|eps - eps_hat|^2 = alpha^2 s^2 / v: the mean of each term in closed form."""
    path, n = VP(), 20_000
    x0 = DATA.mean + DATA.std * torch.randn(n, dtype=torch.float64, generator=seeded(3))
    exact, gaps = -norm(DATA.mean, DATA.std).logpdf(x0.numpy()).mean(), []
    for steps in (4, 16, 64, 256, 4096):
        lam = torch.linspace(*path.lam(torch.tensor([1.0, 1e-3]).double()).tolist(), steps + 1, dtype=torch.float64)
        ts = path.t_of_lam(lam)
        snr = np.exp(2 * lam.numpy())
        left = DATA.std**2 * snr / (DATA.std**2 * snr + 1)
        kls = (snr[1:] / snr[:-1] - 1) / 2 * left[:-1]
        np.testing.assert_allclose(elbo_weights(path, ts), (snr[1:] / snr[:-1] - 1) / 2, rtol=1e-8)
        prior = snr[0] / 2 * (x0**2).mean().item()
        expected = prior + kls.sum() + (left[-1] + math.log(2 * math.pi / snr[-1])) / 2
        gaps.append(expected - exact)
        if steps <= 256:
            total = discrete_bound(Dynamics(path, DATA.predict(path)), x0, ts, seeded(steps)).total
            error = total.std().item() / math.sqrt(n)
            assert abs(total.mean().item() - expected) < 4.5 * error
            assert total.mean().item() > exact - 4.5 * error
    assert all(0 < after < 0.3 * before for before, after in pairwise(gaps))
    assert gaps[-1] < 0.01


ENDS = (-3.0, 3.5)


def cut(kind, log_ratio):
    """A path whose usable range ends exactly where lam is ENDS; log_ratio: its lam as the reader would write it."""
    low, high = (brentq(lambda t, end=end: log_ratio(t) - end, 1e-9, 1 - 1e-9, xtol=1e-15) for end in ENDS[::-1])
    return type(f"Cut{kind.__name__}", (kind,), {"t_min": low, "t_max": high})()


def vp_lam(t):
    return -math.log(math.expm1(0.1 * t + 9.95 * t**2)) / 2


def cosine_lam(t):
    alpha2 = (math.cos((t + 0.008) / 1.008 * math.pi / 2) / math.cos(0.008 / 1.008 * math.pi / 2)) ** 2
    return math.log(alpha2 / (1 - alpha2)) / 2


EQUAL = {
    "VP": cut(VP, vp_lam),
    "CosineVP": cut(CosineVP, cosine_lam),
    "RectifiedFlow": cut(RectifiedFlow, lambda t: math.log((1 - t) / t)),
    "VE": cut(VE, lambda t: -math.log(0.01 * 5000**t)),
}


@pytest.mark.equation("continuous-elbo")
@pytest.mark.parametrize("name", EQUAL)
def test_the_continuous_bound_is_the_same_integral_on_every_path_to_four_digits(name):
    """A denoiser whose error depends on lam alone, |eps - eps_hat|^2 = 2 h(lam)^2: only the choice of times is left to chance."""
    path, x0 = EQUAL[name], torch.tensor([0.4, -1.1], dtype=torch.float64).expand(4096, 2)

    def predict(x, t):
        alpha, sigma = path.alpha(t).reshape(-1, 1), path.sigma(t).reshape(-1, 1)
        eps = (x - alpha * x0) / sigma + (1.5 + torch.sin(2 * torch.log(alpha / sigma)))
        return Prediction((x - sigma * eps) / alpha, eps)

    bound = continuous_bound(Dynamics(path, predict), x0, 2, seeded(0))
    truth, _ = quad(lambda u: 2 * (1.5 + math.sin(2 * u)) ** 2, *ENDS)
    assert bound.diffusion.shape == (1, 4096)
    assert bound.diffusion.mean().item() == pytest.approx(truth, rel=1e-4)
    assert bound.prior[0].item() == pytest.approx(math.exp(2 * ENDS[0]) / 2 * (0.4**2 + 1.1**2), rel=1e-9)


@pytest.mark.equation("continuous-elbo")
@pytest.mark.parametrize("name", EQUAL)
def test_the_continuous_bound_of_gaussian_data(name):
    """The integral of alpha^2 s^2 / v over lam by quadrature; with both other terms, just above the exact likelihood."""
    path, n = EQUAL[name], 20_000
    x0 = DATA.mean + DATA.std * torch.randn(n, dtype=torch.float64, generator=seeded(5))
    bound = continuous_bound(Dynamics(path, DATA.predict(path)), x0, 1, seeded(6))

    def left(lam):
        return DATA.std**2 * math.exp(2 * lam) / (DATA.std**2 * math.exp(2 * lam) + 1)

    truth = quad(left, *ENDS)[0], (left(ENDS[1]) + math.log(2 * math.pi) - 2 * ENDS[1]) / 2
    for found, expected in zip((bound.diffusion[0], bound.reconstruction), truth):
        assert abs(found.mean().item() - expected) < 4.5 * found.std().item() / math.sqrt(n)
    exact = -norm(DATA.mean, DATA.std).logpdf(x0.numpy()).mean()
    assert 0 < bound.prior.mean().item() + sum(truth) - exact < 0.01
    one = DiscreteVP(torch.linspace(0.999, 0.001, 50))
    few = continuous_bound(Dynamics(one, DATA.predict(one)), x0[:6].float(), 3, seeded(0))
    assert (few.total.dtype, few.total.shape) == (torch.float32, (6,))


def test_more_draws_vary_less():
    path = EQUAL["VP"]
    x0 = torch.full((4000,), 0.5, dtype=torch.float64)
    one, nine = (continuous_bound(Dynamics(path, DATA.predict(path)), x0, k, seeded(0)).diffusion.std().item() for k in (1, 9))
    assert nine == pytest.approx(one / 3, rel=0.1)


def test_bad_input_is_refused():
    dynamics, x0 = Dynamics(VP(), DATA.predict(VP())), torch.zeros(2, dtype=torch.float64)
    for ts in ([0.5], [0.2, 0.8], [0.5, 0.5], [[0.8, 0.2]], [0.8, math.nan]):
        with pytest.raises(ValueError, match=r"ts: expected (strictly decreasing|a vector of at least two) times"):
            discrete_bound(dynamics, x0, torch.tensor(ts))
        with pytest.raises(ValueError, match="ts: expected"):
            elbo_weights(VP(), ts)
    times = [0.8, 0.3, 0.1]
    assert torch.equal(elbo_weights(VP(), times), elbo_weights(VP(), torch.tensor(times, dtype=torch.float64)))
    for draws in (0, -1, 2.0):
        with pytest.raises(ValueError, match="draws: expected a whole number >= 1"):
            continuous_bound(dynamics, x0, draws)
    empty = DiscreteVP.from_betas(zero_terminal_snr=True)
    with pytest.raises(ValueError, match="path: expected a finite lam at both ends"):
        continuous_bound(Dynamics(empty, DATA.predict(empty)), x0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_parts_have_the_type_of_the_data(dtype):
    dynamics, x0 = Dynamics(VP(), DATA.predict(VP())), torch.zeros(2, dtype=dtype)
    for bound in (discrete_bound(dynamics, x0, [0.9, 0.5, 0.1]), continuous_bound(dynamics, x0, 2)):
        assert {part.dtype for part in (bound.prior, bound.diffusion, bound.reconstruction)} == {dtype}


def test_nothing_is_differentiated():
    weight = scalar(1.0).requires_grad_()
    dynamics = Dynamics(VP(), lambda x, t: guess(weight * x, t, VP()))
    x0 = torch.zeros(2, dtype=torch.float64)
    assert not discrete_bound(dynamics, x0, torch.tensor([0.9, 0.1])).total.requires_grad
    assert not continuous_bound(dynamics, x0).total.requires_grad
