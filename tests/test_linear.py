"""Floor 2: linear autoencoders against scikit-learn, numpy, a numerical minimum, PyTorch's densities, quadrature and autograd."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.stats import norm
from sklearn.decomposition import PCA
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from tinyldm import seeded
from tinyldm.gaussian import linear_ae_error, linear_vae, pca, water_filling

EIGENVALUES = torch.tensor([4.0, 1.5, 0.5, 0.1], dtype=torch.float64)


def rotation(d, seed=3):
    return torch.linalg.qr(torch.randn(d, d, generator=seeded(seed), dtype=torch.float64))[0]


def points(n=60, d=5, seed=1):
    """Correlated points (n, d) with a mean of their own."""
    g = seeded(seed)
    mix = torch.randn(d, d, generator=g, dtype=torch.float64)
    return torch.randn(n, d, generator=g, dtype=torch.float64) @ mix + torch.arange(d)


def covariance(values=EIGENVALUES):
    turned = rotation(len(values))
    return turned @ values.diag() @ turned.mT


@pytest.mark.equation("linear-ae")
@pytest.mark.parametrize(("n", "d"), [(60, 5), (4, 7)])
def test_components_are_those_of_scikit_learn(n, d):
    x = points(n, d)
    theirs = PCA(3, svd_solver="full").fit(x.numpy())
    found = pca(x, 3)
    torch.testing.assert_close(found.mean, torch.from_numpy(theirs.mean_))
    torch.testing.assert_close(found.variances, torch.from_numpy(theirs.explained_variance_) * (n - 1) / n)
    torch.testing.assert_close(found.directions.abs(), torch.from_numpy(theirs.components_.T).abs())
    assert (found.directions.gather(0, found.directions.abs().argmax(0, keepdim=True)) > 0).all()


@pytest.mark.equation("linear-ae")
@pytest.mark.parametrize("d", [1, 2, 4])
def test_no_linear_autoencoder_that_a_minimiser_finds_beats_the_components(d):
    x = points()
    x = (x - x.mean(0)).numpy()
    width = x.shape[1]

    def loss(flat):
        a, b = flat[: width * d].reshape(width, d), flat[width * d :].reshape(d, width)
        rest = x - x @ b.T @ a.T
        code, slope = x @ b.T, -2 * rest / len(x)
        grad = np.concatenate([(slope.T @ code).ravel(), (a.T @ slope.T @ x).ravel()])
        return (rest**2).sum() / len(x), grad

    start = np.random.default_rng(0).normal(size=2 * width * d) / 3
    least = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 1e-15, "gtol": 1e-10})
    values = torch.from_numpy(np.linalg.eigvalsh(np.cov(x.T, bias=True)))
    assert linear_ae_error(values, d).item() == pytest.approx(least.fun, rel=1e-6)
    span = least.x[: width * d].reshape(width, d)
    onto = span @ np.linalg.pinv(span)
    u = pca(torch.from_numpy(x), d).directions.numpy()
    np.testing.assert_allclose(onto, u @ u.T, atol=1e-3)


@pytest.mark.equation("linear-ae")
def test_the_error_is_what_projecting_leaves():
    x = points()
    for d in (1, 3, 5):
        mean, u, _ = pca(x, d)
        rest = x - mean - (x - mean) @ u @ u.mT
        torch.testing.assert_close(linear_ae_error(pca(x, 5).variances, d), (rest**2).sum(1).mean())
    assert linear_ae_error(EIGENVALUES.flip(0), 1).item() == pytest.approx(2.1)
    assert linear_ae_error(EIGENVALUES, 0).item() == pytest.approx(6.1)


def reverse_water_filling(values, total):
    """The textbook's problem solved directly: least rate for a given total error, errors between 0 and the variances."""

    def rate(errors):
        return float(np.sum(np.log(values / errors)) / 2), -0.5 / errors

    found = minimize(
        rate,
        np.minimum(values, total / len(values)) * 0.9,
        jac=True,
        method="SLSQP",
        bounds=[(1e-6, v) for v in values],
        constraints={"type": "ineq", "fun": lambda e: total - e.sum(), "jac": lambda e: -np.ones_like(e)},
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    return found.x, found.fun


@pytest.mark.equation("water-filling")
@pytest.mark.parametrize("noise", [1.0, 0.3, 0.05])
def test_water_filling_is_the_least_rate_for_its_error(noise):
    errors, rates = water_filling(EIGENVALUES, noise)
    best, least = reverse_water_filling(EIGENVALUES.numpy(), float(errors.sum()))
    np.testing.assert_allclose(errors.numpy(), best, atol=1e-4)
    assert rates.sum().item() == pytest.approx(least, abs=1e-5)


@pytest.mark.equation("water-filling")
@pytest.mark.parametrize("noise", [1.0, 0.3, 0.05])
def test_water_filling_is_what_the_linear_vae_spends(noise):
    model = linear_vae(EIGENVALUES.diag(), noise, 4)
    scales = EIGENVALUES.sqrt().tolist()
    for i, (error, rate) in enumerate(zip(*water_filling(EIGENVALUES, noise), strict=True)):
        a, b, s = model.encoder[i, i].item(), model.decoder[i, i].item(), model.std[i].item()

        def kl(x, a=a, s=s):
            return kl_divergence(Normal(torch.tensor(a * x), torch.tensor(s)), Normal(0.0, 1.0)).item()

        def square(x, a=a, b=b, s=s):
            return (x - b * a * x) ** 2 + (b * s) ** 2

        for cost, expected in ((kl, rate), (square, error)):
            truth = quad(lambda x, f=cost, k=i: norm(0, scales[k]).pdf(x) * f(x), -12 * scales[i], 12 * scales[i])[0]
            assert expected.item() == pytest.approx(truth, abs=2e-6)


def test_water_filling_says_which_directions_live():
    for noise, alive in ((1.0, 2), (0.3, 3), (0.05, 4)):
        assert (water_filling(EIGENVALUES, noise)[1] > 0).sum() == alive
    errors, rates = water_filling(torch.zeros(2), 0.5)
    assert torch.equal(errors, torch.zeros(2))
    assert torch.equal(rates, torch.zeros(2))


def expected_loss(cov, decoder, encoder, logvar, noise):
    """The expectation over x ~ N(0, cov) of the negative ELBO, from its definition."""
    rest = torch.eye(len(cov)).to(cov) - decoder @ encoder
    square = (rest @ cov @ rest.mT).trace() + (logvar.exp() * (decoder**2).sum(0)).sum()
    kl = ((encoder @ cov @ encoder.mT).diagonal() + logvar.exp() - 1 - logvar).sum() / 2
    return square / (2 * noise) + len(cov) / 2 * math.log(2 * math.pi * noise) + kl


@pytest.mark.equation("linear-vae")
@pytest.mark.parametrize("noise", [1.0, 0.3, 0.05])
@pytest.mark.parametrize("d", [1, 3, 4])
def test_the_closed_form_is_stationary_and_nothing_near_it_is_better(noise, d):
    cov = covariance()
    model = linear_vae(cov, noise, d)
    parts = [p.clone().requires_grad_() for p in (model.decoder, model.encoder, 2 * model.std.log())]
    loss = expected_loss(cov, *parts, noise)
    for gradient in torch.autograd.grad(loss, parts):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-9)
    g = seeded(5)
    for size in (0.01, 0.3):
        for _ in range(20):
            near = [p.detach() + size * torch.randn(p.shape, generator=g, dtype=p.dtype) for p in parts]
            assert expected_loss(cov, *near, noise) >= loss.detach() - 1e-12


@pytest.mark.equation("linear-vae")
def test_a_minimiser_started_at_random_finds_no_less():
    cov, noise, d = covariance(), 0.3, 3
    parts = [torch.randn(s, generator=seeded(8), dtype=torch.float64) / 2 for s in ((4, d), (d, 4), (d,))]
    for p in parts:
        p.requires_grad_()
    optimizer = torch.optim.LBFGS(parts, max_iter=2000, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = expected_loss(cov, *parts, noise)
        loss.backward()
        return loss

    optimizer.step(closure)
    model = linear_vae(cov, noise, d)
    best = expected_loss(cov, model.decoder, model.encoder, 2 * model.std.log(), noise)
    torch.testing.assert_close(expected_loss(cov, *parts, noise).detach(), best, rtol=1e-7, atol=1e-7)


@pytest.mark.equation("linear-vae")
@pytest.mark.parametrize("noise", [1.0, 0.3])
def test_its_encoder_is_the_exact_posterior_and_its_bound_the_exact_likelihood(noise):
    cov, d = covariance(), 3
    mean = torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64)
    model = linear_vae(cov, noise, d, mean)
    x = points(6, 4)
    precision = torch.eye(d).double() + model.decoder.mT @ model.decoder / noise
    q = model.encode(x)
    torch.testing.assert_close(q.std[0].square().diag(), precision.inverse())
    bayes = (x - mean) @ model.decoder / noise @ precision.inverse()
    torch.testing.assert_close(q.mean, bayes)
    # the ELBO, with its expectation over q done by hand, is log p(x)
    spread = (q.std[0] ** 2 * (model.decoder**2).sum(0)).sum()
    square = ((x - model.decode(q.mean)) ** 2).sum(1) + spread
    elbo = -square / (2 * noise) - 2 * math.log(2 * math.pi * noise) - q.kl()
    torch.testing.assert_close(elbo, MultivariateNormal(mean, model.covariance()).log_prob(x))


@pytest.mark.equation("linear-vae")
def test_a_covariance_without_full_rank_is_one_too():
    """Three points span a plane: in the other three directions the least eigenvalue is 0 up to rounding, of either sign."""
    for seed in range(6):
        spread = np.cov(points(3, 5, seed).numpy(), rowvar=False, bias=True)
        model = linear_vae(torch.from_numpy(spread), 0.2, 4)
        believed = np.linalg.eigvalsh(model.covariance().numpy())
        np.testing.assert_allclose(believed, np.maximum(np.linalg.eigvalsh(spread), 0.2), rtol=1e-9)


def test_rounding_is_judged_by_the_largest_eigenvalue():
    """Beside a variance of 30,000 an eigenvalue of -0.05 is the rounding of float32, whatever the others are."""
    u = torch.tensor([[1.0, 2.0, -3.0, 4.0]])
    spread = 1000 * (u.mT @ u) + torch.diag(torch.tensor([0.0, 0.0, 0.0, -0.1]))
    assert -0.1 < torch.linalg.eigvalsh(spread)[0] < -0.02
    model = linear_vae(spread, 10.0, 2)
    np.testing.assert_allclose(model.decoder[:, 0] ** 2, u[0] ** 2 / 30 * (30_000 - 10), rtol=1e-4)
    assert not model.decoder[:, 1].any()


def test_unused_latents_are_at_the_prior():
    model = linear_vae(EIGENVALUES.diag(), 1.0, 4)
    assert torch.equal(model.std[2:], torch.ones(2).double())
    assert not model.decoder[:, 2:].any()
    assert not model.encoder[2:].any()


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: pca(torch.zeros(3), 1), "x: "),
        (lambda: pca(torch.zeros(3, 2, dtype=torch.long), 1), "x: "),
        (lambda: pca(torch.full((3, 2), math.nan), 1), "finite"),
        (lambda: pca(torch.zeros(3, 2), 3), "from 1 to 2"),
        (lambda: pca(torch.zeros(3, 2), 0), "from 1 to 2"),
        (lambda: linear_ae_error(torch.tensor([1.0, -1.0]), 1), "variances"),
        (lambda: linear_ae_error(torch.ones(2), 3), "from 0 to 2"),
        (lambda: water_filling(torch.ones(2), 0.0), "noise"),
        (lambda: water_filling(torch.ones(2), math.nan), "noise"),
        (lambda: water_filling(torch.ones(2, 2), 1.0), "variances"),
        (lambda: linear_vae(torch.ones(2, 3), 1.0, 1), "covariance"),
        (lambda: linear_vae(torch.tensor([[1.0, 0.5], [0.0, 1.0]]), 1.0, 1), "symmetric"),
        (lambda: linear_vae(torch.diag(torch.tensor([1.0, -0.5])), 1.0, 1), "eigenvalue"),
        (lambda: linear_vae(torch.eye(2), -1.0, 1), "noise"),
        (lambda: linear_vae(torch.eye(2), 1.0, 3), "from 1 to 2"),
        (lambda: linear_vae(torch.eye(2), 1.0, 1, torch.zeros(3)), "mean"),
    ],
)
def test_bad_input_is_refused_by_name(call, word):
    with pytest.raises(ValueError, match=word):
        call()
