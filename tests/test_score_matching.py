"""Floor 4: denoising score matching against its expectation in closed form, for models that are right and wrong."""

import math

import numpy as np
import pytest
import torch
from oracles import GaussianData, scalar, times
from scipy.integrate import quad

from tinyldm import VE, VP, CosineVP, DiscreteVP, Dynamics, RectifiedFlow, SubVP
from tinyldm.losses import WEIGHTINGS, score_matching_loss

PATHS = {
    "VP": VP(),
    "SubVP": SubVP(),
    "VE": VE(),
    "CosineVP": CosineVP(),
    "RectifiedFlow": RectifiedFlow(),
    "DiscreteVP": DiscreteVP.from_betas(),
}
each_path = pytest.mark.parametrize("name", PATHS)
DATA = GaussianData(0.7, 0.6)
MODELS = {"exact": DATA, "wrong": GaussianData(-0.2, 0.9)}  # a model is the exact score of the data it believes in


def quadrature(n=6):
    """x0 ~ DATA and eps ~ N(0, 1) on a product of Gauss-Hermite rules: exact for polynomials up to degree 11."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    z, eps = (torch.from_numpy(v.ravel()) for v in np.meshgrid(nodes, nodes))
    return DATA.mean + DATA.std * z, eps, torch.from_numpy(np.outer(weights, weights).ravel() / (2 * math.pi))


def expected(path, t, weighting, model="exact"):
    x0, eps, weights = quadrature()
    dynamics = Dynamics(path, MODELS[model].predict(path))
    loss = score_matching_loss(dynamics, x0, eps, t.expand(len(x0)), weighting)
    assert loss.shape == x0.shape
    return float((weights * loss).sum())


def closed_form(path, t, model):
    """E|s(x_t) + eps / sigma|^2: the score -(x - alpha m') / v' is linear in x_t = alpha (m + s z) + sigma eps."""
    alpha, sigma = float(path.alpha(t)), float(path.sigma(t))
    guess = MODELS[model]
    v = alpha**2 * guess.std**2 + sigma**2
    return (alpha * (DATA.mean - guess.mean) / v) ** 2 + (alpha * DATA.std / v) ** 2 + (1 / sigma - sigma / v) ** 2


def weight(path, t, weighting):
    variance = float(path.sigma(t)) ** 2
    capped = min(1.0, 5 * variance / float(path.alpha(t)) ** 2)
    table = {"score": 1.0, "simple": variance, "likelihood": float(path.g2(t)), "min_snr": variance * capped}
    return table[weighting]


@pytest.mark.equation("score-matching")
@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("model", MODELS)
@each_path
def test_the_expected_loss_is_its_closed_form(name, model, weighting):
    path = PATHS[name]
    for t in times(path, 5):
        truth = weight(path, t, weighting) * closed_form(path, t, model)
        assert expected(path, t, weighting, model) == pytest.approx(truth, rel=1e-8)


@pytest.mark.equation("score-matching")
@each_path
def test_it_is_the_distance_to_the_true_score_plus_what_no_model_can_change(name):
    """Vincent's theorem: E|s + eps/sigma|^2 = E|s - score|^2 + (1/sigma^2 - 1/v), the last term without s."""
    path = PATHS[name]
    x0, eps, weights = quadrature()
    for t in times(path, 5):
        mean, std = DATA.moments(path, t)
        x = path.marginal(x0, eps, t)
        for model in MODELS:
            score = Dynamics(path, MODELS[model].predict(path)).score(x, t)
            explicit = float((weights * (score + (x - mean) / std**2) ** 2).sum())
            constant = float(1 / path.sigma(t) ** 2 - 1 / std**2)
            assert expected(path, t, "score", model) == pytest.approx(explicit + constant, rel=1e-8)


@pytest.mark.equation("score-matching")
@each_path
def test_the_three_weightings_are_errors_of_score_noise_and_data(name, rng):
    """|eps - eps_hat|^2 = sigma^2 |score + eps/sigma|^2 = SNR |x0 - x0_hat|^2, summed over the entries of each sample."""
    path = PATHS[name]
    t = times(path, 4)
    x0, eps = (torch.randn(4, 2, 3, dtype=torch.float64, generator=rng) for _ in range(2))
    model = MODELS["wrong"].predict(path)
    predict = lambda x, t: model(x, t[:, None, None])  # noqa: E731
    loss = {w: score_matching_loss(Dynamics(path, predict), x0, eps, t, w) for w in WEIGHTINGS}
    p = predict(path.marginal(x0, eps, t), t)
    for i in range(4):
        alpha, sigma = float(path.alpha(t[i])), float(path.sigma(t[i]))
        noise, data = (float(((a - b)[i] ** 2).sum()) for a, b in ((eps, p.eps), (x0, p.x0)))
        assert loss["simple"][i].item() == pytest.approx(noise, rel=1e-9)
        assert loss["simple"][i].item() == pytest.approx((alpha / sigma) ** 2 * data, rel=1e-7)
        assert loss["score"][i].item() == pytest.approx(noise / sigma**2, rel=1e-9)
        assert loss["likelihood"][i].item() == pytest.approx(float(path.g2(t[i])) / sigma**2 * noise, rel=1e-9)
        assert loss["min_snr"][i].item() == pytest.approx(min((alpha / sigma) ** 2, 5) * data, rel=1e-7)


@pytest.mark.equation("score-matching")
@each_path
def test_the_likelihood_weight_is_the_fall_of_the_log_snr(name):
    """g^2 / sigma^2 = -d log snr / dt, by differences. For VP that is beta / sigma^2."""
    path = PATHS[name]
    t, h = times(path, 20) + 1e-4, 1e-6
    slope = (path.log_snr(t + h) - path.log_snr(t - h)) / (2 * h)
    ratio = WEIGHTINGS["likelihood"](path, t) / WEIGHTINGS["simple"](path, t)
    torch.testing.assert_close(ratio, -slope, rtol=1e-5, atol=0)
    if name == "VP":
        torch.testing.assert_close(ratio, (0.1 + 19.9 * t) / path.sigma(t) ** 2, rtol=1e-9, atol=0)


@pytest.mark.equation("score-matching")
@pytest.mark.parametrize("name", ["VP", "SubVP", "VE", "CosineVP", "RectifiedFlow"])
def test_half_the_likelihood_weighted_integral_is_the_diffusion_part_of_the_bound(name):
    """For the exact model: the integral of alpha^2 s^2 / v over lam, log((1 + s^2 snr_min) / (1 + s^2 snr_max)) / -2."""
    path, ends = PATHS[name], (0.1, 0.9)
    found, _ = quad(lambda t: expected(path, scalar(t), "likelihood") / 2, *ends, epsrel=1e-7)
    most, least = (1 + DATA.std**2 * float(path.log_snr(scalar(t)).exp()) for t in ends)
    assert found == pytest.approx(math.log(most / least) / 2, rel=1e-6)


def test_gradients_reach_the_model(rng):
    x = torch.randn(3, 2, generator=rng)
    factor = torch.ones((), requires_grad=True)
    model = MODELS["wrong"].predict(VP())

    def predict(x, t):
        p = model(x, t[:, None])
        return type(p)(p.x0, factor * p.eps)

    score_matching_loss(Dynamics(VP(), predict), x, x, torch.tensor([0.2, 0.5, 0.8])).sum().backward()
    assert factor.grad.abs() > 0


def test_simple_is_the_default_and_unknown_weightings_are_refused(rng):
    x, t = torch.randn(3, dtype=torch.float64, generator=rng), times(VP(), 3)
    dynamics = Dynamics(VP(), DATA.predict(VP()))
    assert torch.equal(score_matching_loss(dynamics, x, x, t), score_matching_loss(dynamics, x, x, t, "simple"))
    with pytest.raises(ValueError, match=r"weighting='likelyhood' is unknown; did you mean 'likelihood'\?"):
        score_matching_loss(dynamics, x, x, t, "likelyhood")
