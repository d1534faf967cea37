"""Floor 2: the simulated forward SDE against its own increments, its moments and the marginals it stands for."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from oracles import scalar
from scipy import stats

from tinyldm import VE, VP, CosineVP, DiscreteVP, RectifiedFlow, SubVP, diffuse, seeded

PATHS = {
    "VP": VP(),
    "SubVP": SubVP(),
    "VE": VE(),
    "CosineVP": CosineVP(),
    "RectifiedFlow": RectifiedFlow(),
    "DiscreteVP": DiscreteVP.from_betas(),
}
each_path = pytest.mark.parametrize("name", PATHS)


def coefficients(name, t):
    """f and g^2 as the literature gives them; a table's from finite differences of its alpha, as g^2 = -2f there."""
    if name in ("VP", "SubVP"):
        beta, rate = 0.1 + 19.9 * t, 0.1 * t + 9.95 * t**2
        return -beta / 2, beta if name == "VP" else beta * -math.expm1(-2 * rate)
    if name == "VE":
        return 0.0, 2 * (0.01 * 5000**t) ** 2 * math.log(5000)
    if name == "CosineVP":
        f = -math.pi / 2 / 1.008 * math.tan((t + 0.008) / 1.008 * math.pi / 2)
        return f, -2 * f
    if name == "RectifiedFlow":
        return -1 / (1 - t), 2 * t / (1 - t)
    low, high = (math.log(PATHS[name].alpha(scalar(max(t + h, 0)))) for h in (-1e-7, 1e-7))
    f = (high - low) / (1e-7 + min(t, 1e-7))
    return f, -2 * f


def grid(last, n, first=0.0):
    return torch.linspace(first, last, n + 1, dtype=torch.float64)


@pytest.mark.equation("forward-sde")
@each_path
def test_every_step_is_drift_times_dt_and_diffusion_times_the_increment(name, rng):
    """x + f x dt + g dW with the increments that the callback saw, at uneven times: pathwise, to the last digits."""
    ts = torch.tensor([0.0, 0.013, 0.1, 0.11, 0.42, 0.9], dtype=torch.float64)
    x = torch.randn(4, 1, 2, 3, dtype=torch.float64, generator=rng)
    start, seen = x.clone(), []
    end = diffuse(PATHS[name], x, ts, seeded(0), lambda i, t, x, dw: seen.append((i, float(t), x, dw)))
    assert [(i, t) for i, t, _, _ in seen] == list(enumerate(ts[1:].tolist()))
    assert torch.equal(x, start)  # the caller's tensor is left alone
    for i, _, state, dw in seen:
        f, g2 = coefficients(name, float(ts[i]))
        h = float(ts[i + 1] - ts[i])
        torch.testing.assert_close(state, x + f * x * h + math.sqrt(max(g2, 0)) * dw, rtol=1e-5, atol=1e-5)
        x = state
    assert torch.equal(end, x)


@pytest.mark.equation("forward-sde")
def test_increments_are_independent_with_the_variance_of_their_time_step():
    ts, seen = torch.tensor([0.0, 0.01, 0.05, 0.3, 1.0]), []
    diffuse(VP(), torch.zeros(20_000, 1), ts, seeded(1), lambda i, t, x, dw: seen.append(dw[:, 0].numpy()))
    for dw, h in zip(seen, np.diff(ts.numpy()), strict=True):
        assert stats.kstest(dw, stats.norm(0, math.sqrt(h)).cdf).pvalue > 1e-4
    correlations = np.corrcoef(seen) - np.eye(4)
    assert np.abs(correlations).max() < 4.5 / math.sqrt(20_000)


def moments_of_the_steps(name, ts, mean, variance):
    """What Euler-Maruyama's steps do to mean and variance, exactly: x is multiplied by 1 + f dt, then noise is added."""
    for t, s in pairwise(ts.tolist()):
        f, g2 = coefficients(name, t)
        mean, variance = mean * (1 + f * (s - t)), variance * (1 + f * (s - t)) ** 2 + g2 * (s - t)
    return mean, variance


LAST = {"RectifiedFlow": 0.9, "CosineVP": 0.9}  # their drift has a pole at 1, where equal steps do not converge


@pytest.mark.equation("forward-sde")
@pytest.mark.equation("marginal")
@each_path
def test_the_simulated_marginal_is_the_closed_one(name):
    """From one x0 and from a later state: N(alpha x0, sigma^2), up to 4.5 standard errors and the steps' own bias."""
    path, n, x0 = PATHS[name], 20_000, 1.3
    for first, last in ((0.0, LAST.get(name, 1.0)), (0.2, 0.6)):
        ts = grid(last, 400, first)
        x = diffuse(path, torch.full((n,), x0, dtype=torch.float64), ts, seeded(2))
        (a, b), (alpha, sigma) = ((float(path.alpha(t)), float(path.sigma(t))) for t in (ts[0], ts[-1]))
        mean, variance = alpha / a * x0, sigma**2 - (alpha / a * b) ** 2
        by_steps = moments_of_the_steps(name, ts, x0, 0.0)
        bias = abs(by_steps[0] - mean), abs(by_steps[1] - variance)
        assert bias[0] < 0.01 * x0
        assert bias[1] < 0.025 * variance
        assert abs(x.mean().item() - mean) < 4.5 * math.sqrt(variance / n) + bias[0]
        assert abs(x.var().item() - variance) < 4.5 * variance * math.sqrt(2 / n) + bias[1]
        assert stats.kstest(x.numpy(), stats.norm(by_steps[0], math.sqrt(by_steps[1])).cdf).pvalue > 1e-4


@each_path
def test_the_bias_of_the_steps_halves_with_them(name):
    """Weak order 1, of the exact moments of the very steps that are tested above."""
    path, last = PATHS[name], 0.8
    truth = float(path.alpha(scalar(last))), float(path.sigma(scalar(last))) ** 2 - float(path.sigma(scalar(0.0))) ** 2
    gaps = [max(abs(a - b) for a, b in zip(moments_of_the_steps(name, grid(last, n), 1.0, 0.0), truth)) for n in (1000, 2000)]
    assert gaps[1] == pytest.approx(gaps[0] / 2, rel=0.05)


def test_noise_depends_on_the_generator_only_and_types_are_kept():
    ts = [0.0, 0.2, 0.5]
    for dtype in (torch.float32, torch.float64):
        x = torch.ones(3, 1, 2, 2, dtype=dtype)
        torch.manual_seed(1)
        a = diffuse(VP(), x, ts, seeded(5))
        torch.manual_seed(2)
        assert torch.equal(diffuse(VP(), x, ts, seeded(5)), a)
        assert not torch.equal(diffuse(VP(), x, ts, seeded(6)), a)
        assert (a.dtype, a.shape) == (dtype, x.shape)


@pytest.mark.parametrize(
    ("path", "ts", "said"),
    [
        (VP(), [0.0], "ts: expected a vector of at least two times"),
        (VP(), [[0.0, 0.5]], "ts: expected a vector of at least two times"),
        (VP(), [0.0, 0.5, 0.5], "ts: expected strictly increasing times"),
        (VP(), [0.9, 0.5], "ts: expected strictly increasing times"),
        (VP(), [0.0, math.nan], "ts: expected strictly increasing times"),
        (VP(), [-0.1, 0.5], r"ts: expected times in \[0, 1\]"),
        (VP(), [0.5, 1.01], r"ts: expected times in \[0, 1\]"),
        (RectifiedFlow(), [0.5, 1.0], r"ts: expected times in \[0, 0.999\]"),
    ],
)
def test_bad_grids_are_refused(path, ts, said):
    with pytest.raises(ValueError, match=said):
        diffuse(path, torch.zeros(2, 1), torch.tensor(ts))
