"""Floor 4: the importance-weighted bound and the score-function estimator, against quadrature, closed forms, enumeration."""

import math

import numpy as np
import pytest
import torch
from oracles import scalar
from scipy.integrate import dblquad, quad
from scipy.stats import norm
from torch.distributions import Bernoulli, Normal

from tinyldm import DiagonalGaussian, seeded
from tinyldm.likelihood import importance_bound, log_weights, score_function_surrogate

NOISE = 0.4  # x = z^2 + NOISE eps, z ~ N(0, 1): the posterior has two humps, its evidence is a one-dimensional integral
MEAN, STD = 0.9, 0.5  # of a q that sits on one of them


def log_w(z, x=1.0):
    joint = norm.logpdf(z) + norm.logpdf(x, z**2, NOISE)
    return joint - norm.logpdf(z, MEAN, STD)


def evidence(x=1.0):
    return math.log(quad(lambda z: norm.pdf(z) * norm.pdf(x, z**2, NOISE), -6, 6)[0])


def density(z):
    return norm.pdf(z, MEAN, STD)


def parabola(x):
    return lambda z: (Normal(0.0, 1.0).log_prob(z) + Normal(z**2, NOISE).log_prob(x)).squeeze(1)


def posterior(n, mean=MEAN, std=STD):
    return DiagonalGaussian(torch.full((n, 1), mean).double(), torch.full((n, 1), 2 * math.log(std)).double())


@pytest.mark.equation("iwae")
def test_the_bound_with_one_and_two_samples_is_the_integral_it_stands_for():
    low, high = MEAN - 6 * STD, MEAN + 6 * STD
    one = quad(lambda z: density(z) * log_w(z), low, high)[0]
    two = dblquad(
        lambda u, v: density(u) * density(v) * (np.logaddexp(log_w(u), log_w(v)) - math.log(2)),
        *(low, high, low, high),
        epsabs=1e-5,
    )[0]
    assert one < two < evidence()
    n = 100_000
    drawn = log_weights(parabola(torch.ones(n, 1).double()), posterior(n), 2, seeded(1))
    for k, truth in ((1, one), (2, two)):
        bound = importance_bound(drawn[:k])
        assert abs(bound.mean().item() - truth) < 4 * bound.std().item() / math.sqrt(n)


@pytest.mark.equation("iwae")
def test_many_samples_reach_the_evidence():
    drawn = log_weights(parabola(torch.ones(20, 1).double()), posterior(20, 0.0, 1.5), 20_000, seeded(2))
    assert importance_bound(drawn).mean().item() == pytest.approx(evidence(), abs=0.01)


@pytest.mark.equation("iwae")
def test_at_the_exact_posterior_every_weight_is_the_evidence(rng):
    """z ~ N(0, 1), x = z + s eps: the posterior is N(x / (1 + s^2), s^2 / (1 + s^2)), and log p(x) = log N(x; 0, 1 + s^2)."""
    s, x = scalar(0.3), torch.randn(6, 1, generator=rng, dtype=torch.float64)
    zero, one = scalar(0.0), scalar(1.0)
    exact = DiagonalGaussian(x / (1 + s**2), (s**2 / (1 + s**2)).log().expand_as(x))
    drawn = log_weights(lambda z: (Normal(zero, one).log_prob(z) + Normal(z, s).log_prob(x)).squeeze(1), exact, 5, rng)
    truth = Normal(zero, (1 + s**2).sqrt()).log_prob(x).squeeze(1)
    torch.testing.assert_close(drawn, truth.expand(5, 6), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(importance_bound(drawn), truth, rtol=1e-10, atol=1e-10)


@pytest.mark.equation("iwae")
def test_the_gradient_weighs_each_sample_by_its_share(rng):
    given = torch.randn(4, 3, generator=rng, dtype=torch.float64, requires_grad=True)
    importance_bound(given).sum().backward()
    weights = np.exp(given.detach().numpy())
    np.testing.assert_allclose(given.grad.numpy(), weights / weights.sum(0), rtol=1e-12)


def test_weights_are_made_of_any_latent_shape_and_carry_gradients(rng):
    mean, logvar = (torch.randn(3, 2, 4, 4, generator=rng).requires_grad_() for _ in range(2))
    q = DiagonalGaussian(mean, logvar)
    drawn = log_weights(lambda z: -(z**2).flatten(1).sum(1), q, 2, seeded(3))
    g = seeded(3)
    by_hand = [-(z**2).flatten(1).sum(1) - Normal(mean, q.std).log_prob(z).flatten(1).sum(1) for z in (q.sample(g), q.sample(g))]
    torch.testing.assert_close(drawn, torch.stack(by_hand))
    importance_bound(drawn).mean().backward()
    assert mean.grad.abs().sum() > 0
    assert logvar.grad.abs().sum() > 0


def test_weights_too_small_for_a_float_do_not_vanish():
    assert importance_bound(torch.full((10, 2), -5000.0)).tolist() == pytest.approx([-5000, -5000])
    assert importance_bound(torch.tensor([[0.0], [-math.inf]])).item() == pytest.approx(-math.log(2))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (torch.zeros(3), r"log_weights: expected \(K, B\), got shape \(3,\)"),
        (torch.zeros(0, 3), "log_weights: expected one row for each sample, at least one, got no samples"),
        (torch.tensor([[math.nan]]), "log_weights: expected numbers, got NaN"),
    ],
)
def test_what_are_no_weights_is_refused(given, problem):
    with pytest.raises(ValueError, match=problem):
        importance_bound(given)


def test_what_cannot_be_weighed_is_refused():
    for draws in (0, 1.5, "2"):
        with pytest.raises(ValueError, match="draws: expected a whole number >= 1"):
            log_weights(lambda z: z.sum(1), posterior(2), draws)
    with pytest.raises(ValueError, match=r"log_joint: expected \(2,\), got a result of shape \(2, 1\)"):
        log_weights(lambda z: z, posterior(2), 1)


def gauss_hermite(mean, std, n=60):
    """Nodes and weights: sum of weights f(nodes) is E f(z), z ~ N(mean, std^2), exactly for polynomials."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    return torch.tensor(mean + std * nodes), torch.tensor(weights / weights.sum())


@pytest.mark.equation("score-function")
@pytest.mark.parametrize(("baseline", "variance"), [(0.0, 21.75), (1.25, 10.5)])
def test_its_gradient_is_unbiased_and_as_wide_as_quadrature_says(baseline, variance):
    """E z^2 = mu^2 + sigma^2 has the gradient (2 mu, 2 sigma). Moments up to 6 of a Gaussian give the variance in mu."""
    nodes, weights = gauss_hermite(1.0, 0.5)
    mean, std = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (1.0, 0.5))

    def surrogate(m, s):
        return score_function_surrogate(nodes**2, Normal(m, s).log_prob(nodes), baseline)

    in_mean, in_std = torch.autograd.functional.jacobian(surrogate, (mean, std))
    assert (weights @ in_mean).item() == pytest.approx(2.0, rel=1e-10)
    assert (weights @ in_std).item() == pytest.approx(1.0, rel=1e-10)
    assert (weights @ (in_mean - 2) ** 2).item() == pytest.approx(variance, rel=1e-10)


@pytest.mark.equation("score-function")
def test_it_works_where_no_sample_can_be_differentiated():
    logits = torch.tensor([0.3, -1.2], dtype=torch.float64, requires_grad=True)
    reward = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64)  # f(z1, z2)
    cases = torch.tensor([[a, b] for a in (0.0, 1.0) for b in (0.0, 1.0)], dtype=torch.float64)
    f = reward.flatten()
    log_prob = Bernoulli(logits=logits).log_prob(cases).sum(1)
    (truth,) = torch.autograd.grad((log_prob.exp() * f).sum(), logits, retain_graph=True)
    expected = (log_prob.exp().detach() * score_function_surrogate(f, log_prob, torch.tensor(7.0))).sum()
    (found,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(found, truth, rtol=1e-12, atol=1e-12)


@pytest.mark.equation("score-function")
def test_without_a_baseline_the_values_count_as_they_are():
    values, log_prob, products = torch.tensor([[1.5, -2.0, 0.0], [-0.3, -4.0, -1.0], [-0.45, 8.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(score_function_surrogate(values, log_prob), products, rtol=1e-15, atol=1e-15)


def test_no_gradient_flows_through_values_or_baseline():
    values, baseline, log_prob = (torch.ones(3, requires_grad=True) for _ in range(3))
    score_function_surrogate(values, log_prob, baseline).sum().backward()
    assert values.grad is None
    assert baseline.grad is None
    assert torch.equal(log_prob.grad, torch.zeros(3))


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(ValueError, match=r"log_prob: expected as values, \(3,\), got shape \(3, 1\)"):
        score_function_surrogate(torch.zeros(3), torch.zeros(3, 1))
    with pytest.raises(ValueError, match=r"baseline: expected \(\) or \(3,\), got shape \(3, 1\)"):
        score_function_surrogate(torch.zeros(3), torch.zeros(3), torch.zeros(3, 1))
