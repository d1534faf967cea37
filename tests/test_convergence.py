"""Floor 4: every deterministic step with every path and every parametrisation solves the one ODE, at its order."""

import math
from functools import cache, partial
from itertools import product

import pytest
import torch
from oracles import scalar
from scipy.integrate import quad

from tinyldm import (
    PARAMETRISATIONS,
    VE,
    VP,
    CosineVP,
    DiscreteVP,
    Dynamics,
    GaussianMixture,
    RectifiedFlow,
    SubVP,
    ddim,
    dpmpp_2m,
    euler,
    exp_ab,
    exp_abm,
    heun,
    invert,
    resolve,
    rk45,
    sample,
    seeded,
    target,
    unipc,
)
from tinyldm.solvers.exp_abm import exp_abm_weights

PATHS = {
    "VP": VP(),
    "SubVP": SubVP(),
    "VE": VE(),
    "CosineVP": CosineVP(),
    "RectifiedFlow": RectifiedFlow(),
    "DiscreteVP": DiscreteVP.from_betas("scaled_linear", 0.00085, 0.012),
}
STEPS = {  # step, order, the variable in which its grid is uniform
    "euler": (euler, 1, "t"),
    "heun": (heun, 2, "t"),
    "ddim": (ddim, 1, "lam"),
    "dpmpp_2m": (dpmpp_2m, 2, "lam"),
    "exp_ab(1)": (partial(exp_ab, order=1), 1, "lam"),
    "exp_ab(2)": (partial(exp_ab, order=2), 2, "lam"),
    "exp_ab(3)": (partial(exp_ab, order=3), 3, "lam"),
    "exp_ab(4)": (partial(exp_ab, order=4), 4, "lam"),
    "unipc(1)": (partial(unipc, order=1), 2, "lam"),
    "unipc(2)": (partial(unipc, order=2), 3, "lam"),
    "exp_abm(2)": (partial(exp_abm, order=2), 3, "lam"),
}
DATA = {
    "Gaussian": GaussianMixture(torch.ones(1), torch.tensor([[0.7, -0.2]]), stds=torch.tensor([0.6])),
    "mixture": GaussianMixture(
        torch.tensor([0.3, 0.2, 0.5]), torch.tensor([[1.0, 0.3], [-0.8, 0.5], [0.1, -1.0]]), stds=torch.tensor([0.5, 0.6, 0.4])
    ),
    "full covariance": GaussianMixture(
        torch.tensor([0.6, 0.4]),
        torch.tensor([[0.8, 0.1], [-0.9, 0.2]]),
        covs=torch.tensor([[[0.5, 0.2], [0.2, 0.3]], [[0.3, -0.1], [-0.1, 0.4]]]),
    ),
}


def network(row, path, predict):
    """The oracle dressed as a network of this parametrisation, and read back as one."""

    def through(x, t):
        p = predict(x, t)
        return resolve(row, path, x, t, target(row, path, p.x0, p.eps, t))

    return through


def times(path, first, last, n, kind):
    """n steps from lam = first to lam = last, uniform in t or in lam."""
    u = torch.linspace(0, 1, n + 1, dtype=torch.float64)
    if kind == "lam":
        return path.t_of_lam(first + u * (last - first))
    start, end = path.t_of_lam(torch.tensor([first, last], dtype=torch.float64))
    return start + u * (end - start)


@cache
def exact(name, data, first, last):
    """Where the noise at lam = first goes, to ten digits, by SciPy's order 8. A table's derivatives have kinks, which would
    cost digits; but its alpha and sigma are the same functions of lam as VP's."""
    path = PATHS["VP" if name == "DiscreteVP" else name]
    ts = times(path, first, last, 1, "t")
    x = noise(path, first)
    return sample(Dynamics(path, DATA[data].predict(path)), x, ts, rk45(1e-10, 1e-10, "DOP853"), denoise=False)


def noise(path, lam, n=12):
    t = path.t_of_lam(scalar(lam))
    return path.sigma(t) * torch.randn(n, 2, dtype=torch.float64, generator=seeded(1))


@pytest.mark.parametrize("row", PARAMETRISATIONS)
@pytest.mark.parametrize("name", PATHS)
def test_every_combination_converges_to_the_exact_flow(name, row):
    """6 paths x 6 parametrisations x 11 steps, on the mixture, from lam = -2.5 to 2."""
    path, first, last = PATHS[name], -2.5, 2.0
    predict = DATA["mixture"].predict(path)
    x, truth = noise(path, first), exact(name, "mixture", first, last)
    dynamics = Dynamics(path, network(row, path, predict))
    for step_name, (step, order, kind) in STEPS.items():
        errors = [
            float((sample(dynamics, x, times(path, first, last, n, kind), step, denoise=False) - truth).abs().max())
            for n in (40, 80)
        ]
        assert errors[1] < (0.2 if order == 1 else 5e-3), step_name  # Euler's constant on VE is the largest
        assert errors[1] < 0.62 * errors[0], step_name


def test_the_combinations_are_more_than_180():
    assert len(list(product(PATHS, PARAMETRISATIONS, STEPS))) == 396


@pytest.mark.parametrize("data", ["Gaussian", "mixture"])
@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("step_name", STEPS)
def test_the_observed_order_is_the_nominal_one(step_name, name, data):
    """log2 of the error's fall when steps are doubled. Adams-Bashforth of order 3 and 4 is started with exact values: from
    a cold start its first steps, of order 1 and 2, would limit it to order 2, if with a tiny constant."""
    path, (step, order, kind) = PATHS[name], STEPS[step_name]
    first, last = max(-4.5, float(path.lam(scalar(path.t_max))) + 0.3), 1.5
    x, truth, dynamics = noise(path, first), exact(name, data, first, last), Dynamics(path, DATA[data].predict(path))
    n = {1: 100, 2: 100, 3: 200, 4: 160}[order]
    errors = []
    for count in (n, 2 * n):
        ts = times(path, first, last, count, kind)
        warm = primed(step, name, data, x, path.lam(ts[:2]), order - 1) if step_name.startswith("exp_ab(") else step
        errors.append(float((sample(dynamics, x, ts, warm, denoise=False) - truth).norm()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


def primed(step, name, data, x, lams, n):
    """The same step with a memory of n exact predictions at times before the start, as far apart as the first two lams."""
    path = PATHS["VP" if name == "DiscreteVP" else name]
    dynamics, memory = Dynamics(path, DATA[data].predict(path)), []
    for k in range(1, n + 1):
        lam = lams[0] - k * (lams[1] - lams[0])
        ts = path.t_of_lam(torch.stack([lam, lams[0]]))
        state = invert(dynamics, x, ts, rk45(1e-11, 1e-11, "DOP853"))
        memory.append((lam.item(), dynamics.predict(state, ts[0]).x0))

    def warm(dynamics, x, t, s, past):
        return step(dynamics, x, t, s, tuple(memory) if past is None else past)

    return warm


@pytest.mark.equation("circle-step")
@pytest.mark.equation("circle-weights")
@pytest.mark.parametrize("name", PATHS)
def test_the_circle_s_method_has_one_order_more_than_its_predictor(name):
    """exp_abm of order 2, predicted with two slopes and corrected with three. Higher orders are limited to 3 by the start."""
    path, first, last = PATHS[name], -2.3, 1.5
    x, truth, dynamics = (noise(path, first), exact(name, "mixture", first, last), Dynamics(path, DATA["mixture"].predict(path)))
    for order, least in ((2, 2.85), (4, 2.85)):
        errors = [
            float(
                (
                    sample(dynamics, x, times(path, first, last, n, "lam"), partial(exp_abm, order=order), denoise=False) - truth
                ).norm()
            )
            for n in (120, 240)
        ]
        assert math.log2(errors[0] / errors[1]) > least, order


@pytest.mark.equation("circle-weights")
@pytest.mark.parametrize("power", range(4))
def test_the_circle_s_weights_integrate_polynomials(power):
    """The same integral over the angle itself, by SciPy: u = asinh(d tan(phi) / k)."""
    places, knee, d = [0.3, 0.9, 1.4, 2.0], 0.3, 0.5
    mine = sum(w * u**power for w, u in zip(exp_abm_weights(places, 0.3, -0.8), places))
    start, end = (math.atan(knee * math.sinh(u) / d) for u in (0.3, -0.8))
    truth, _ = quad(lambda phi: math.asinh(d * math.tan(phi) / knee) ** power, start, end)
    assert mine == pytest.approx(truth, rel=1e-9)


@pytest.mark.parametrize("name", PATHS)
def test_exponential_adams_bashforth_of_order_1_is_ddim(name):
    path = PATHS[name]
    dynamics, x = Dynamics(path, DATA["mixture"].predict(path)), noise(path, -2.0)
    ts = times(path, -2.0, 2.0, 7, "t")
    a = sample(dynamics, x, ts, ddim, denoise=False)
    torch.testing.assert_close(sample(dynamics, x, ts, partial(exp_ab, order=1), denoise=False), a, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ["VP", "RectifiedFlow", "VE"])
def test_the_path_does_not_matter_to_an_exponential_integrator(name):
    """On a grid uniform in lam, x over its size is the same on every path: a path is a choice of units and of a clock."""
    other, path = PATHS["CosineVP"], PATHS[name]
    results = []
    for p in (path, other):
        ts = times(p, -2.5, 2.0, 12, "lam")
        alpha, sigma = p.alpha(ts), p.sigma(ts)
        z = torch.randn(5, 2, dtype=torch.float64, generator=seeded(3))
        x = sample(Dynamics(p, DATA["mixture"].predict(p)), sigma[0] * z, ts, dpmpp_2m, denoise=False)
        results.append(x / alpha[-1])
    torch.testing.assert_close(*results, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("step", [ddim, heun, dpmpp_2m, exp_ab], ids=lambda s: s.__name__)
def test_inversion_leads_back_to_the_noise(step):
    path = PATHS["VP"]
    dynamics, x = Dynamics(path, DATA["mixture"].predict(path)), noise(path, -2.5)
    gaps = []
    for n in (100, 200):
        ts = times(path, -2.5, 2.0, n, "lam")
        there = sample(dynamics, x, ts, step, denoise=False)
        gaps.append(float((invert(dynamics, there, ts, step) - x).abs().max()))
    assert gaps[1] < 0.06
    assert gaps[1] < 0.6 * gaps[0]


@pytest.mark.parametrize("method", ["RK45", "DOP853", "LSODA"])
def test_the_adaptive_solvers_keep_their_tolerance(method):
    path = PATHS["VP"]
    predict = DATA["Gaussian"].predict(path)
    x, ts = noise(path, -2.5), times(path, -2.5, 2.0, 4, "t")
    mean, std = torch.tensor([0.7, -0.2], dtype=torch.float64), 0.6
    ends = [(path.alpha(t) * mean, torch.sqrt(path.alpha(t) ** 2 * std**2 + path.sigma(t) ** 2)) for t in (ts[0], ts[-1])]
    truth = ends[1][0] + ends[1][1] * (x - ends[0][0]) / ends[0][1]
    solver, seen = rk45(1e-7, 1e-7, method), []
    y = sample(Dynamics(path, predict), x, ts, solver, denoise=False, callback=lambda i, s, x: seen.append((i, float(s))))
    torch.testing.assert_close(y, truth, rtol=0, atol=2e-6)
    assert seen == [(i, float(s)) for i, s in enumerate(ts[1:])]
    assert 10 < solver.evaluations < 2000


@pytest.mark.parametrize("given", [{"rtol": 0.0}, {"atol": 0.0}, {"atol": -1.0}, {"rtol": math.nan}], ids=str)
def test_tolerances_are_positive(given):
    with pytest.raises(ValueError, match="rtol, atol: expected numbers > 0"):
        rk45(**given)


def test_zero_terminal_snr_is_sampled_with_v_and_refused_with_eps():
    path = DiscreteVP.from_betas("scaled_linear", 0.00085, 0.012, zero_terminal_snr=True)
    predict = DATA["mixture"].predict(path)
    ts = torch.linspace(1, 0.001, 60, dtype=torch.float64)
    x = torch.randn(12, 2, dtype=torch.float64, generator=seeded(1))
    truth = sample(Dynamics(path, predict), x, ts, rk45(1e-10, 1e-10, "DOP853"), denoise=False)
    for step in (euler, heun, ddim, dpmpp_2m, exp_ab, unipc, exp_abm):
        y = sample(Dynamics(path, network("v", path, predict)), x, ts, step, denoise=False)
        assert float((y - truth).abs().max()) < 0.2, step
    for row in ("eps", "score"):
        with pytest.raises(ValueError, match=rf"parametrisation='{row}': at t=\[1.0\] the output does not determine"):
            sample(Dynamics(path, network(row, path, predict)), x, ts, ddim)


@pytest.mark.parametrize("step", [euler, ddim, exp_ab, unipc, exp_abm, dpmpp_2m], ids=lambda s: s.__name__)
def test_a_state_that_is_changed_between_steps_is_taken_as_it_is(step):
    """Inpainting, a corrector, a nudge: also the methods that take their last step again must start from what they are given."""
    path, ts = PATHS["VP"], times(PATHS["VP"], -2.0, 2.0, 40, "lam")
    dynamics, x = Dynamics(path, DATA["Gaussian"].predict(path)), noise(path, -2.0)

    def nudged(dynamics, x, t, s, memory=None):
        x, memory = step(dynamics, x, t, s, memory)
        return x + 0.1, memory

    shift = sample(dynamics, x, ts, nudged, denoise=False) - sample(dynamics, x, ts, step, denoise=False)
    exact = sum((STD(path, ts[-1]) / STD(path, s)) * 0.1 for s in ts[1:])  # the Gaussian's flow scales differences
    torch.testing.assert_close(shift, exact.expand_as(shift), rtol=0.15, atol=0)


def STD(path, t):  # noqa: N802
    return torch.sqrt((0.6 * path.alpha(t)) ** 2 + path.sigma(t) ** 2)


@pytest.mark.parametrize("step", [ddim, exp_ab, unipc, exp_abm, dpmpp_2m], ids=lambda s: s.__name__)
def test_the_way_back_may_end_where_no_data_is_left(step):
    path = PATHS["RectifiedFlow"]
    dynamics = Dynamics(path, network("flow", path, DATA["mixture"].predict(path)))
    x = DATA["mixture"].sample(8, seeded(2))
    ts = torch.cat([torch.ones(1, dtype=torch.float64), torch.linspace(0.97, 0.001, 60, dtype=torch.float64)])
    there = invert(dynamics, x, ts, step)
    assert there.isfinite().all()
    assert float((sample(dynamics, there, ts, step, denoise=False) - x).abs().max()) < 0.2
