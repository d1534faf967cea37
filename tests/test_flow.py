"""Floor 4: models that change their path, couplings and straightness, where the flow is known in closed form."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from oracles import GaussianData, scalar

from tinyldm import (
    VE,
    VP,
    CosineVP,
    DiscreteVP,
    Dynamics,
    GaussianMixture,
    Prediction,
    RectifiedFlow,
    SubVP,
    euler,
    grid,
    heun,
    invert,
    rk45,
    sample,
)
from tinyldm.solvers import coupling, on_path, straightness

PATHS = {
    "VP": VP(),
    "SubVP": SubVP(),
    "VE": VE(),
    "CosineVP": CosineVP(),
    "RectifiedFlow": RectifiedFlow(),
    "DiscreteVP": DiscreteVP.from_betas("scaled_linear", 0.00085, 0.012, zero_terminal_snr=True),
}
each_path = pytest.mark.parametrize("name", PATHS)
DATA = GaussianData(0.7, 0.6)
MIXTURE = GaussianMixture(
    torch.tensor([0.3, 0.2, 0.5]), torch.tensor([[1.0, 0.3], [-0.8, 0.5], [0.1, -1.0]]), torch.tensor([0.5, 0.6, 0.4])
)


@pytest.mark.equation("change-path")
@pytest.mark.parametrize(("trained", "other"), list(product(PATHS, PATHS)))
def test_an_oracle_of_one_path_becomes_the_oracle_of_another(trained, other, rng):
    """At all noise levels that both paths have, for one time and for a time a sample."""
    a, b = PATHS[trained], PATHS[other]
    ends = torch.tensor([[p.t_max, p.t_min] for p in (a, b)], dtype=torch.float64)
    low, high = max(a.lam(ends[0])[0], b.lam(ends[1])[0], -9), min(a.lam(ends[0])[1], b.lam(ends[1])[1])
    t = b.t_of_lam(torch.linspace(low, high, 9, dtype=torch.float64)[1:-1])
    x = torch.randn(7, 2, dtype=torch.float64, generator=rng) * torch.sqrt(b.alpha(t) ** 2 + b.sigma(t) ** 2)[:, None]
    predict, truth = on_path(MIXTURE.predict(a), a, b), MIXTURE.predict(b)
    for when in (t, t[2]):
        found, expected = predict(x, when), truth(x, when)
        torch.testing.assert_close(found.x0, expected.x0, rtol=1e-7, atol=1e-7)
        torch.testing.assert_close(found.eps, expected.eps, rtol=1e-7, atol=1e-7)


@pytest.mark.equation("change-path")
def test_a_model_is_shown_its_own_marginals(rng):
    """It sees alpha x0 + sigma eps of its own path, with the same x0 and eps, in the type of x."""
    a, b, seen = VE(), RectifiedFlow(), []
    x0, eps = (torch.randn(3, 1, 2, 2, generator=rng) for _ in range(2))
    t = torch.tensor([0.1, 0.5, 0.9])
    on_path(lambda x, t: seen.append((x, t)), a, b)(b.marginal(x0, eps, t), t)
    x, own = seen[0]
    assert x.dtype == torch.float32
    torch.testing.assert_close(own, torch.log(t.double() / (1 - t.double()) / 0.01) / math.log(5000))  # equal sigma/alpha
    torch.testing.assert_close(x, a.marginal(x0, eps, own.float()), rtol=1e-4, atol=1e-5)


@pytest.mark.equation("change-path")
def test_beyond_its_own_noise_levels_a_model_is_asked_at_the_nearer_end():
    a, b, seen = VE(0.05, 5.0), PATHS["DiscreteVP"], []
    predict = on_path(lambda x, t: seen.append((x, t.item())), a, b)
    for t in (1.0, 0.999, 0.001):
        predict(torch.ones(1, 1, dtype=torch.float64), scalar(t))
    assert [t for _, t in seen] == [pytest.approx(1, abs=1e-9)] * 2 + [pytest.approx(1e-5, abs=1e-9)]
    assert seen[0][0].item() == pytest.approx(math.sqrt(1 + 25), rel=1e-6)  # scaled to the size of VE's states there
    assert seen[2][0].item() == pytest.approx(math.sqrt(1 + 0.05**2), rel=1e-5)


@pytest.mark.equation("reflow")
@each_path
def test_the_coupling_of_gaussian_data_is_the_monotone_map(name):
    """mean + std z, z the noise's own quantile; E[x0 | x] at t_min makes of std z the little less alpha std^2 / sqrt(v) z."""
    path = PATHS[name]
    eps = torch.linspace(-2.5, 2.5, 11, dtype=torch.float64)
    found = coupling(Dynamics(path, DATA.predict(path)), eps, grid(path, 20, "t"), rk45(1e-8, 1e-8))
    first, last = scalar(path.t_max), scalar(path.t_min)
    mean, std = DATA.moments(path, first)
    z = (path.sigma(first) * eps - mean) / std
    kept = float(path.alpha(last) * DATA.std / DATA.moments(path, last)[1])
    assert 0.998 < kept < 1
    torch.testing.assert_close(found, DATA.mean + DATA.std * kept * z, rtol=0, atol=1e-5)
    assert (found.diff() > 0).all()


@pytest.mark.equation("reflow")
def test_the_coupling_of_a_mixture_keeps_quantiles():
    """The monotone rearrangement in one dimension: as much of x_T lies below the noise as of x0 below its partner."""
    weights, means, std = torch.tensor([0.4, 0.6]), torch.tensor([-1.0, 0.8]), 0.3
    path, mixture = VP(), GaussianMixture(weights, means[:, None], torch.tensor([std, std]))
    eps = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    found = coupling(Dynamics(path, mixture.predict(path)), eps, grid(path, 400), heun)

    def share(x, alpha, sigma):
        width = math.sqrt(alpha**2 * std**2 + sigma**2)
        return sum(w * torch.distributions.Normal(alpha * m, width).cdf(x) for w, m in zip(weights, means))

    alpha, sigma = float(path.alpha(scalar(1.0))), float(path.sigma(scalar(1.0)))
    torch.testing.assert_close(share(found, 1.0, 0.0), share(sigma * eps, alpha, sigma), rtol=0, atol=1e-3)


@pytest.mark.equation("straightness")
def test_the_flow_to_a_point_is_straight_on_the_straight_line_only(rng):
    point, x = 0.4, torch.randn(5, 2, dtype=torch.float64, generator=rng)
    for name in ("RectifiedFlow", "VP"):
        path = PATHS[name]

        def predict(x, t, path=path):
            return Prediction(torch.full_like(x, point), (x - path.alpha(t) * point) / path.sigma(t))

        found = straightness(Dynamics(path, predict), x, grid(path, 50, "t"), heun)
        if name == "RectifiedFlow":
            torch.testing.assert_close(found, torch.zeros(5).double(), rtol=0, atol=1e-20)
        else:
            assert (found > 0.01).all()


@pytest.mark.equation("straightness")
@pytest.mark.parametrize("kind", ["t", "lam"])
@pytest.mark.parametrize("name", ["VP", "CosineVP", "RectifiedFlow"])
def test_the_straightness_of_gaussian_data_by_quadrature(name, kind):
    """x(t) = m_t + sd_t z with slopes m' and sd': the mean over t of (chord - slope)^2, summed over two entries."""
    path, ends = PATHS[name], (0.95, 0.05)
    zs = torch.tensor([[-1.3, 0.4], [2.0, 0.0]], dtype=torch.float64)

    def state(t, z):
        mean, std = DATA.moments(path, t)
        return mean + std * z

    def bend(t, z, h=1e-5):
        chord = (state(scalar(ends[1]), z) - state(scalar(ends[0]), z)) / (ends[1] - ends[0])
        slope = (state(t + h, z) - state(t - h, z)) / (2 * h)
        return (chord - slope) ** 2

    u = torch.linspace(0, 1, 801, dtype=torch.float64)
    ts = ends[0] + u * (ends[1] - ends[0])
    if kind == "lam":  # an uneven grid, its middle sparse: the mean is over time, not over steps
        first, last = path.lam(torch.tensor(ends, dtype=torch.float64))
        ts = path.t_of_lam(first + u * (last - first))
        ts[0], ts[-1] = ends
    found = straightness(Dynamics(path, DATA.predict(path)), state(ts[0], zs), ts, heun)
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(200))
    t = (ends[0] + ends[1]) / 2 + (ends[0] - ends[1]) / 2 * nodes
    for row, value in zip(zs, found, strict=True):
        truth = sum(float((weights * bend(t, z)).sum()) / 2 for z in row)
        assert value.item() == pytest.approx(truth, rel=2e-3, abs=1e-5)


@each_path
def test_inverting_and_sampling_lead_back(name, rng):
    """Data climb to the noise that the flow assigns to them, in closed form, and come down again."""
    path = PATHS[name]
    dynamics, ts, solver = Dynamics(path, DATA.predict(path)), grid(path, 4, "t"), rk45(1e-8, 1e-8)
    x = DATA.mean + DATA.std * torch.randn(6, dtype=torch.float64, generator=rng)
    noise = invert(dynamics, x, ts, solver)
    # near t_min a table's slope of sigma is steep, and the adaptive solver pays for its kinks
    torch.testing.assert_close(noise, DATA.flow(path, x, ts[-1], ts[0]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sample(dynamics, noise, ts, solver, denoise=False), x, rtol=1e-5, atol=1e-5)


def test_straightness_sees_the_whole_trajectory():
    """Two steps of Euler on the exact flow: the three states, worked out by hand."""
    path, ts = RectifiedFlow(), torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64)
    dynamics, x = Dynamics(path, DATA.predict(path)), torch.tensor([1.2], dtype=torch.float64)

    def velocity(x, t):
        v = (1 - t) ** 2 * 0.36 + t**2
        z = (x - (1 - t) * 0.7) / v
        return t * z - (0.7 + (1 - t) * 0.36 * z)

    middle = 1.2 - 0.4 * velocity(1.2, 0.9)
    last = middle - 0.4 * velocity(middle, 0.5)
    chord = (last - 1.2) / -0.8
    bends = [(chord - velocity(s, t)) ** 2 for s, t in ((1.2, 0.9), (middle, 0.5), (last, 0.1))]
    truth = (bends[0] / 2 + bends[1] + bends[2] / 2) / 2
    assert straightness(dynamics, x, ts, euler).item() == pytest.approx(truth, rel=1e-10)
    assert not straightness(dynamics, x, ts, euler).requires_grad


def test_times_may_be_a_list_and_must_fall():
    path, x, times = RectifiedFlow(), torch.tensor([[1.2, -0.4]], dtype=torch.float64), [0.9, 0.7, 0.5, 0.1]
    dynamics, ts = Dynamics(path, DATA.predict(path)), torch.tensor(times, dtype=torch.float64)
    assert torch.equal(straightness(dynamics, x, times, euler), straightness(dynamics, x, ts, euler))
    assert torch.equal(coupling(dynamics, x, times, euler), coupling(dynamics, x, ts, euler))
    assert torch.equal(sample(dynamics, x, times, euler), sample(dynamics, x, ts, euler))
    for bad in (times[::-1], [0.5], [[0.9, 0.1]]):
        with pytest.raises(ValueError, match="ts: expected"):
            straightness(dynamics, x, bad, euler)
