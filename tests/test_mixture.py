"""Floor 2: the oracle against torch.distributions, autograd, quadrature and simulated pairs (x0, x_t)."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from oracles import scalar, times
from scipy import stats
from scipy.integrate import quad
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from tinyldm import VE, VP, CosineVP, DiscreteVP, GaussianMixture, RectifiedFlow, SubVP, seeded

PATHS = {
    "VP": VP(),
    "SubVP": SubVP(),
    "VE": VE(),
    "CosineVP": CosineVP(),
    "RectifiedFlow": RectifiedFlow(),
    "DiscreteVP": DiscreteVP.from_betas("scaled_linear", 0.00085, 0.012, zero_terminal_snr=True),
}
WEIGHTS = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
MEANS = torch.tensor([[1.0, 0.3, 0.0], [-0.8, 0.5, 0.4], [0.1, -1.2, -0.3]], dtype=torch.float64)
STDS = torch.tensor([0.3, 0.6, 0.45], dtype=torch.float64)
FACTORS = torch.tensor(  # three dimensions, since the axes of a plane's ellipse can be a symmetric matrix, its own transpose
    [
        [[0.7, 0.0, 0.0], [0.4, 0.3, 0.0], [-0.2, 0.5, 0.2]],
        [[0.3, 0.0, 0.0], [-0.2, 0.6, 0.0], [0.3, 0.1, 0.4]],
        [[0.9, 0.0, 0.0], [0.0, 0.2, 0.0], [0.0, 0.0, 0.5]],
    ],
    dtype=torch.float64,
)
COVS = FACTORS @ FACTORS.mT
MIXTURES = {
    "isotropic": (GaussianMixture(WEIGHTS, MEANS, stds=STDS), torch.diag_embed((STDS**2)[:, None].expand(3, 3))),
    "full": (GaussianMixture(WEIGHTS, MEANS, covs=COVS), COVS),
}
CLOSE = {"rtol": 1e-9, "atol": 1e-9}
each_mixture = pytest.mark.parametrize("kind", MIXTURES)
each_path = pytest.mark.parametrize("name", PATHS)


def density(covs, alpha=1.0, sigma=0.0):
    """The distribution of alpha x0 + sigma eps, written with torch.distributions."""
    spread = alpha**2 * covs + sigma**2 * torch.eye(3, dtype=torch.float64)
    return MixtureSameFamily(Categorical(WEIGHTS), MultivariateNormal(alpha * MEANS, spread))


def points(n, rng):
    return 1.5 * torch.randn(n, 3, dtype=torch.float64, generator=rng)


@pytest.mark.equation("mixture")
@each_mixture
def test_the_density_of_the_data(kind, rng):
    mixture, covs = MIXTURES[kind]
    x = points(50, rng)
    torch.testing.assert_close(mixture.log_prob(x), density(covs).log_prob(x), **CLOSE)
    assert mixture.log_prob(x).shape == (50,)


@pytest.mark.equation("mixture")
@pytest.mark.equation("mixture-score")
@each_path
@each_mixture
def test_density_and_score_of_the_noised_data(kind, name, rng):
    """Each time alone as (), and all at once as (B,): the score is the gradient of the density, by autograd."""
    (mixture, covs), path = MIXTURES[kind], PATHS[name]
    ts = torch.cat([torch.tensor([path.t_min]).double(), times(path, 7), torch.tensor([path.t_max]).double()])
    x = points(len(ts), rng)
    together = mixture.log_prob(x, path, ts), mixture.score(x, path, ts)
    for i, t in enumerate(ts):
        alone = x[i : i + 1].clone().requires_grad_()
        log_prob = density(covs, path.alpha(t), path.sigma(t)).log_prob(alone)
        (gradient,) = torch.autograd.grad(log_prob.sum(), alone)
        for found in (together[0][i : i + 1], mixture.log_prob(alone.detach(), path, t)):
            torch.testing.assert_close(found, log_prob.detach(), **CLOSE)
        for found in (together[1][i : i + 1], mixture.score(alone.detach(), path, t)):
            torch.testing.assert_close(found, gradient, **CLOSE)


@pytest.mark.equation("mixture-denoiser")
@each_path
@pytest.mark.parametrize("covariances", [False, True], ids=["stds", "covs"])
def test_the_denoiser_is_the_conditional_mean_by_quadrature(covariances, name):
    """E[x0 | x] and E[eps | x] in one dimension: integrals over x0 with weight p(x0) N(x; alpha x0, sigma^2)."""
    path, weights, means, stds = PATHS[name], [0.3, 0.7], [-1.0, 0.8], [0.4, 0.25]
    spread = {"covs": torch.tensor(stds).double()[:, None, None] ** 2} if covariances else {"stds": torch.tensor(stds)}
    predict = GaussianMixture(torch.tensor(weights), torch.tensor(means)[:, None], **spread).predict(path)
    for t, x in product((0.15, 0.5, 0.85), (-1.3, 0.1, 0.9)):
        alpha, sigma = (float(c(scalar(t))) for c in (path.alpha, path.sigma))

        def noise(x0, x=x, alpha=alpha, sigma=sigma):
            return (x - alpha * x0) / sigma

        def joint(x0, noise=noise):
            prior = sum(w / s * math.exp(-(((x0 - m) / s) ** 2) / 2) for w, m, s in zip(weights, means, stds))
            return prior * math.exp(-(noise(x0) ** 2) / 2)

        where = {"points": [-1.0, 0.8, max(-4, min(4, x / alpha))], "epsabs": 1e-13, "limit": 200}
        total, x0, eps = (quad(lambda u, h=h: h(u) * joint(u), -4, 4, **where)[0] for h in (lambda u: 1.0, lambda u: u, noise))
        found = predict(torch.tensor([[x]], dtype=torch.float64), scalar(t))
        assert found.x0.item() == pytest.approx(x0 / total, rel=1e-6, abs=1e-6)
        assert found.eps.item() == pytest.approx(eps / total, rel=1e-6, abs=1e-6)


@pytest.mark.equation("mixture-denoiser")
@each_path
@each_mixture
def test_what_the_denoiser_misses_is_uncorrelated_with_what_it_saw(kind, name):
    """A conditional mean is the only function D with E[(x0 - D(x_t)) h(x_t)] = 0 for every h; on 40 000 simulated pairs."""
    (mixture, covs), path, n = MIXTURES[kind], PATHS[name], 40_000
    t = times(path, 1)[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        x0 = density(covs).sample((n,))
        eps = torch.randn(n, 3, dtype=torch.float64)
    x = path.alpha(t) * x0 + path.sigma(t) * eps
    p = mixture.predict(path)(x, t)
    size = x / x.std(0)
    for left in (x0 - p.x0, eps - p.eps):
        for h in (torch.ones_like(x), size, size.roll(1, 1), size**2, torch.sin(2 * size)):
            products = left * h
            error = products.std(0) / math.sqrt(n)
            assert (products.mean(0).abs() < 4.5 * error).all()


@each_path
@each_mixture
def test_both_predictions_make_up_what_was_seen(kind, name, rng):
    (mixture, _), path = MIXTURES[kind], PATHS[name]
    x, ts = points(40, rng), times(path, 40)
    for t in (ts, ts[3], scalar(path.t_max)):
        p = mixture.predict(path)(x, t)
        torch.testing.assert_close(path.marginal(p.x0, p.eps, t), x, **CLOSE)


def test_where_nothing_is_left_the_best_guess_is_the_mean_of_all_data(rng):
    path, x = PATHS["DiscreteVP"], points(5, rng)
    p = MIXTURES["full"][0].predict(path)(x, scalar(1.0))
    torch.testing.assert_close(p.x0, (WEIGHTS[:, None] * MEANS).sum(0).expand(5, 3), **CLOSE)
    torch.testing.assert_close(p.eps, x, **CLOSE)


@pytest.mark.parametrize("shape", [(6, 4), (6, 1, 2, 2)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_types_and_shapes_of_points_are_kept(dtype, shape, rng):
    """Four dimensions, as vectors or as pictures, at a time for each: the numbers are those of vectors in float64."""
    means, path = torch.randn(2, 4, generator=rng), CosineVP()
    factor = torch.randn(2, 4, 4, generator=rng, dtype=torch.float64)
    x, t = torch.randn(6, 4, generator=rng).double(), times(path, 6)
    for spread in ({"stds": torch.tensor([0.5, 0.8])}, {"covs": factor @ factor.mT + 0.1 * torch.eye(4)}):
        mixture = GaussianMixture(torch.tensor([0.4, 0.6]), means, **spread)
        predict = mixture.predict(path)
        plain = [mixture.log_prob(x), mixture.log_prob(x, path, t), mixture.score(x, path, t)]
        plain += [predict(x, t).x0, predict(x, t).eps]
        y = x.reshape(shape).to(dtype)
        found = [mixture.log_prob(y), mixture.log_prob(y, path, t), mixture.score(y, path, t)]
        found += [predict(y, t).x0, predict(y, t).eps]
        for value, truth in zip(found, plain, strict=True):
            assert value.dtype == dtype
            assert value.shape == ((6,) if truth.ndim == 1 else shape)
            tolerance = 1e-4 if dtype == torch.float32 else 1e-10
            torch.testing.assert_close(value.reshape(truth.shape).double(), truth, rtol=tolerance, atol=tolerance)


@each_mixture
def test_samples_have_the_moments_of_the_mixture(kind):
    (mixture, covs), n = MIXTURES[kind], 100_000
    x = mixture.sample(n, seeded(0))
    assert (x.shape, x.dtype) == ((n, 3), torch.float64)
    mean = (WEIGHTS[:, None] * MEANS).sum(0)
    second = (WEIGHTS[:, None, None] * (covs + MEANS[:, :, None] * MEANS[:, None])).sum(0)
    products = x[:, :, None] * x[:, None]
    for found, truth in ((x, mean), (products, second)):
        assert ((found.mean(0) - truth).abs() < 4.5 * found.std(0) / math.sqrt(n)).all()
    for direction in ([1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.48, -0.6, 0.64]):  # the whole distribution, along a line
        d = np.array(direction)
        stds = np.sqrt([d @ c @ d for c in covs.numpy()])
        parts = [(w, stats.norm(m @ d, s)) for w, m, s in zip(WEIGHTS.numpy(), MEANS.numpy(), stds)]
        cdf = lambda y, parts=parts: sum(w * part.cdf(y) for w, part in parts)  # noqa: E731
        assert stats.kstest(x.numpy() @ d, cdf).pvalue > 1e-4


def test_samples_depend_on_the_generator_only():
    mixture = MIXTURES["full"][0]
    torch.manual_seed(1)
    a = mixture.sample(5, seeded(4))
    torch.manual_seed(2)
    assert torch.equal(mixture.sample(5, seeded(4)), a)
    assert not torch.equal(mixture.sample(5, seeded(5)), a)


def test_far_away_and_nearly_without_noise_nothing_overflows():
    x = torch.tensor([[60.0, -40.0, 9.0], [0.0, 0.0, 0.0]])
    for mixture, _ in MIXTURES.values():
        for t in (torch.tensor(1e-6), torch.tensor(1.0)):
            p = mixture.predict(VP())(x, t)
            for value in (p.x0, p.eps, mixture.score(x, VP(), t), mixture.log_prob(x, VP(), t)):
                assert value.isfinite().all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weights": torch.tensor([0.2, 0.2])}, "weights: expected numbers >= 0 that add up to 1"),
        ({"weights": torch.tensor([1.5, -0.5])}, "weights: expected numbers >= 0 that add up to 1"),
        ({"weights": torch.tensor([math.nan, 1.0])}, "weights: expected numbers >= 0 that add up to 1"),
        ({"weights": torch.tensor([1.0])}, r"weights: expected \(2,\), one for each mean"),
        ({"means": torch.zeros(2)}, r"means: expected shape \(K, D\)"),
        ({"means": torch.full((2, 2), math.nan)}, "means: expected finite numbers"),
        ({"stds": torch.tensor([1.0, 0.0])}, "stds: expected finite numbers > 0"),
        ({"stds": torch.tensor([1.0, -1.0])}, "stds: expected finite numbers > 0"),
        ({"stds": torch.tensor([1.0, math.nan])}, "stds: expected finite numbers > 0"),
        ({"stds": torch.tensor([1.0, math.inf])}, "stds: expected finite numbers > 0"),
        ({"stds": torch.ones(2, 2)}, r"stds: expected \(2,\), one for each mean"),
        ({"stds": None}, "stds, covs: expected exactly one of the two, got both or neither"),
        ({"covs": torch.eye(2).repeat(2, 1, 1)}, "stds, covs: expected exactly one of the two"),
        ({"stds": None, "covs": torch.ones(2, 2, 2)}, "covs: expected positive definite matrices"),
        ({"stds": None, "covs": -torch.eye(2).repeat(2, 1, 1)}, "covs: expected positive definite matrices"),
        ({"stds": None, "covs": torch.tensor([[[1.0, 0.5], [0.0, 1.0]]] * 2)}, "covs: expected symmetric matrices"),
        ({"stds": None, "covs": torch.eye(2)}, r"covs: expected \(2, 2, 2\), got shape \(2, 2\)"),
        ({"stds": None, "covs": torch.full((2, 2, 2), math.nan)}, "covs: expected finite numbers"),
    ],
)
def test_what_is_not_a_mixture_is_refused(change, said):
    given = {"weights": torch.tensor([0.5, 0.5]), "means": torch.zeros(2, 2), "stds": torch.ones(2), "covs": None}
    with pytest.raises(ValueError, match=said):
        GaussianMixture(**(given | change))


def test_questions_that_make_no_sense_are_refused():
    mixture, x = MIXTURES["isotropic"][0], torch.zeros(3, 3)
    with pytest.raises(ValueError, match="path, t: expected both or neither"):
        mixture.log_prob(x, VP())
    with pytest.raises(ValueError, match="path, t: expected both or neither"):
        mixture.log_prob(x, t=torch.tensor(0.5))
    with pytest.raises(ValueError, match="x: expected 3, the mixture's dimension, got 2 entries a sample"):
        mixture.log_prob(torch.zeros(3, 2))
    for n in (0, -1, 2.0):
        with pytest.raises(ValueError, match="n: expected a whole number >= 1"):
            mixture.sample(n)


@pytest.mark.equation("mixture")
@pytest.mark.equation("mixture-score")
@pytest.mark.equation("mixture-denoiser")
def test_a_component_without_weight_is_none(rng):
    path, t, x = VP(), scalar(0.3), torch.randn(6, 2, dtype=torch.float64, generator=rng)
    means, stds = torch.tensor([[1.0, 0.3], [-0.8, 0.5], [0.1, -1.2]]), torch.tensor([0.3, 0.6, 0.4])
    three = GaussianMixture(torch.tensor([0.25, 0.0, 0.75]), means, stds)
    two = GaussianMixture(torch.tensor([0.25, 0.75]), means[[0, 2]], stds[[0, 2]])
    assert torch.isfinite(three.log_prob(x, path, t)).all()
    torch.testing.assert_close(three.log_prob(x, path, t), two.log_prob(x, path, t), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(three.score(x, path, t), two.score(x, path, t), rtol=1e-12, atol=1e-12)
    (x0, eps), (y0, noise) = ((p.x0, p.eps) for p in (m.predict(path)(x, t) for m in (three, two)))
    torch.testing.assert_close(x0, y0, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(eps, noise, rtol=1e-12, atol=1e-12)


def test_weights_are_normalised_to_the_last_digit():
    """Float32 weights add up to 1 only nearly; the density must integrate to 1 all the same."""
    mixture = GaussianMixture(torch.full((3,), 1 / 3) * (1 + 5e-6), torch.tensor([[-1.0], [0.0], [1.0]]), torch.ones(3))
    total = quad(lambda x: math.exp(mixture.log_prob(torch.tensor([[x]], dtype=torch.float64)).item()), -9, 9)[0]
    assert total == pytest.approx(1, abs=1e-10)
