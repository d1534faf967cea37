"""Floor 4: observed orders, exactly solvable cases, Bayes' rule, and what ``sample`` promises."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from oracles import PATHS, GaussianData, scalar

from tinyldm import VP, Dynamics, Prediction, RectifiedFlow, ddim, ddpm, dpmpp_2m, euler, fixed, grid, heun, sample, seeded

DATA = GaussianData(mean=0.7, std=0.6)
STEPS = {"euler": euler, "heun": heun, "ddim": ddim, "ddpm": ddpm, "dpmpp_2m": dpmpp_2m}
DETERMINISTIC = ("euler", "heun", "ddim", "dpmpp_2m")
BOTH = {"argvalues": [VP(), RectifiedFlow()], "ids": ["VP", "RectifiedFlow"]}


def known(x0, path):
    """A prediction that knows the clean data."""
    return lambda x, t: Prediction(x0, (x - path.alpha(t) * x0) / path.sigma(t))


def observed_order(step, path, kind):
    """log2 of the error's fall from 160 to 320 steps, between t = 0.9 and t = 0.05.

    kind: uniform in "t", in "lam", or "uneven": uniform in lam with every second time moved, so that steps long and
    short take turns however many there are, and a multistep solver must know their ratio.
    """
    x = torch.tensor([-1.5, 0.1, 0.4, 2.0], dtype=torch.float64)
    start, end = scalar(0.9), scalar(0.05)
    exact, errors = DATA.flow(path, x, start, end), []
    for n in (160, 320):
        u = torch.linspace(0, 1, n + 1, dtype=torch.float64)
        ts = start + u * (end - start)
        if kind != "t":
            u[1:-1:2] += 0.4 / n if kind == "uneven" else 0
            ts = path.t_of_lam(path.lam(start) + u * (path.lam(end) - path.lam(start)))
            ts[0], ts[-1] = start, end
        result = sample(Dynamics(path, DATA.predict(path)), x, ts, step, denoise=False)
        errors.append(float((result - exact).abs().max()))
    assert errors[1] < 0.02  # it converges to the exact flow, not to something else
    return math.log2(errors[0] / errors[1])


@pytest.mark.equation("euler")
@pytest.mark.parametrize("path", **BOTH)
def test_euler_has_order_1(path):
    assert observed_order(euler, path, "t") == pytest.approx(1, abs=0.15)


@pytest.mark.equation("ddim")
@pytest.mark.parametrize("kind", ["t", "lam"])
@pytest.mark.parametrize("path", **BOTH)
def test_ddim_has_order_1(path, kind):
    assert observed_order(ddim, path, kind) == pytest.approx(1, abs=0.15)


@pytest.mark.equation("heun")
@pytest.mark.parametrize("path", **BOTH)
def test_heun_has_order_2(path):
    assert observed_order(heun, path, "t") == pytest.approx(2, abs=0.15)


@pytest.mark.parametrize("kind", ["t", "lam", "uneven"])
@pytest.mark.parametrize("path", **BOTH)
def test_dpmpp_2m_has_order_2(path, kind):
    assert observed_order(dpmpp_2m, path, kind) == pytest.approx(2, abs=0.15)


@pytest.mark.equation("euler")
@pytest.mark.equation("heun")
@pytest.mark.equation("ddim")
@pytest.mark.parametrize(("t", "s"), [(0.9, 0.2), (0.2, 0.9)])
@pytest.mark.parametrize("step", [euler, heun, ddim, dpmpp_2m])
def test_one_step_is_exact_where_the_path_is_a_straight_line(step, t, s):
    """A point mass on RectifiedFlow: x_t = (1 - t) x0 + t eps, so x_s is known from one look, down and up."""
    path, x0, eps = RectifiedFlow(), scalar(0.3), scalar(-1.2)
    x, _ = step(Dynamics(path, known(x0, path)), (1 - t) * x0 + t * eps, scalar(t), scalar(s), None)
    torch.testing.assert_close(x, (1 - s) * x0 + s * eps)


@pytest.mark.equation("ddim")
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
def test_ddim_is_exact_for_a_point_mass_on_every_path(path):
    x0, eps, t, s = scalar(0.3), scalar(-1.2), scalar(0.9), scalar(0.2)
    for step in (ddim, dpmpp_2m):
        x, _ = step(Dynamics(path, known(x0, path)), path.alpha(t) * x0 + path.sigma(t) * eps, t, s, None)
        torch.testing.assert_close(x, path.alpha(s) * x0 + path.sigma(s) * eps, rtol=1e-12, atol=1e-12)


def drawn(step, path, x0, x, t, s, seed=0):
    """Mean and standard deviation of a stochastic step, read off two entries that differ in their noise only."""
    out, _ = step(Dynamics(path, known(x0, path)), x.repeat(2), t, s, None, generator=seeded(seed))
    z = torch.randn(2, dtype=torch.float64, generator=seeded(seed))
    std = (out[0] - out[1]) / (z[0] - z[1])
    return float(out[0] - std * z[0]), float(std)


@pytest.mark.equation("posterior")
@pytest.mark.equation("ddim")
@pytest.mark.parametrize("step", [ddpm, partial(ddim, eta=1.0)], ids=["ddpm", "ddim(eta=1)"])
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
def test_ancestral_steps_draw_from_bayes_posterior(path, step):
    """Write x0, x_s, x_t as one joint Gaussian and condition x_s on the other two by linear algebra."""
    t, s = scalar(0.8), scalar(0.5)
    at, as_, st, ss = (float(v) for v in (path.alpha(t), path.alpha(s), path.sigma(t), path.sigma(s)))
    r = at / as_
    rows = np.array([[1, 0, 0], [as_, ss, 0], [at, r * ss, np.sqrt(st**2 - r**2 * ss**2)]])  # x0, x_s, x_t from three free noises
    cov = rows @ rows.T
    x0, x = 0.4, -0.7
    gain = cov[1, [0, 2]] @ np.linalg.inv(cov[np.ix_([0, 2], [0, 2])])
    mean, variance = gain @ np.array([x0, x]), cov[1, 1] - gain @ cov[[0, 2], 1]
    given = drawn(step, path, scalar(x0), scalar(x), t, s)
    assert given == pytest.approx((mean, np.sqrt(variance)), rel=1e-9)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_ddim_s_eta_keeps_the_marginal(eta):
    """Whatever eta, x_s given x0 must be N(alpha_s x0, sigma_s^2) when x_t is: signal and total variance are the path's."""
    path, x0, t, s = VP(), scalar(0.4), scalar(0.6), scalar(0.45)
    # E and Var over eps ~ N(0, 1) of the step from x_t = alpha x0 + sigma eps; the step is linear in eps
    ends = [
        (
            path.alpha(s) * x0 + path.sigma(s) * k
            if eta == 0
            else drawn(partial(ddim, eta=eta), path, x0, path.alpha(t) * x0 + path.sigma(t) * k, t, s)
        )
        for k in (0.0, 1.0)
    ]
    if eta == 0:
        dynamics = Dynamics(path, known(x0, path))
        ends = [(float(ddim(dynamics, path.alpha(t) * x0 + path.sigma(t) * k, t, s, eta=0.0)[0]), 0.0) for k in (0.0, 1.0)]
    (centre, std), (moved, _) = ends
    assert centre == pytest.approx(float(path.alpha(s) * x0), rel=1e-10)
    assert (moved - centre) ** 2 + std**2 == pytest.approx(float(path.sigma(s)) ** 2, rel=1e-10)


@pytest.mark.parametrize(
    "step", [ddpm, partial(ddim, eta=1.0), partial(ddim, eta=0.5)], ids=["ddpm", "ddim(eta=1)", "ddim(eta=0.5)"]
)
@pytest.mark.parametrize("path", **BOTH)
def test_stochastic_samples_have_the_data_s_mean_and_variance(path, step, rng):
    """In the limit of many steps: the predicted x0 leaves out its own uncertainty, which costs width, by the step."""
    ts = grid(path, 400)
    noise = path.sigma(ts[0]) * torch.randn(10_000, dtype=torch.float64, generator=rng)
    x = sample(Dynamics(path, DATA.predict(path)), noise, ts, partial(step, generator=rng), denoise=False)
    mean, std = DATA.moments(path, ts[-1])
    assert x.mean().item() == pytest.approx(mean.item(), abs=0.025)  # four standard errors: 4 * 0.6 / sqrt(10000)
    assert x.std().item() == pytest.approx(std.item(), rel=0.04)  # 2% from the steps, 0.7% a standard error


def test_tweedie_s_mean_closes_the_grid(rng):
    path, x, ts = VP(), torch.randn(5, dtype=torch.float64, generator=rng), grid(VP(), 10)
    dynamics = Dynamics(path, DATA.predict(path))
    noisy = sample(dynamics, x, ts, ddim, denoise=False)
    alpha, sigma = path.alpha(ts[-1]), path.sigma(ts[-1])
    score = (alpha * DATA.mean - noisy) / (alpha**2 * DATA.std**2 + sigma**2)
    torch.testing.assert_close(sample(dynamics, x, ts, ddim), (noisy + sigma**2 * score) / alpha)


@pytest.mark.parametrize("name", STEPS)
def test_one_loop_visits_every_interval_once_and_in_order(name, rng):
    """The callback's states are the solver's own: taking the steps by hand with their memory gives the same, bit for bit."""
    ts, seen = grid(VP(), 7), []
    x = start = torch.randn(4, generator=rng)
    step = partial(STEPS[name], generator=seeded(0)) if name == "ddpm" else STEPS[name]
    result = sample(Dynamics(VP(), DATA.predict(VP())), x, ts, step, denoise=False, callback=lambda *a: seen.append(a))
    step = partial(STEPS[name], generator=seeded(0)) if name == "ddpm" else STEPS[name]
    memory = None
    for i in range(7):
        x, memory = step(Dynamics(VP(), DATA.predict(VP())), x, ts[i], ts[i + 1], memory)
        assert seen[i][0] == i
        assert seen[i][1] == ts[i + 1]
        assert torch.equal(seen[i][2], x)
    assert len(seen) == 7
    assert torch.equal(result, x)
    assert result.dtype == start.dtype == torch.float32


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_solvers_keep_no_state_between_runs(name, rng):
    x, ts, solver = torch.randn(4, generator=rng), grid(VP(), 5), fixed(STEPS[name])
    dynamics = Dynamics(VP(), DATA.predict(VP()))
    first = sample(dynamics, x, ts, solver)
    sample(dynamics, 2 * x, grid(VP(), 3), solver)
    assert torch.equal(sample(dynamics, x, ts, solver), first)
    assert torch.equal(sample(dynamics, x, ts, STEPS[name]), first)


def test_sampling_builds_no_graph():
    x = torch.randn(3, generator=seeded(0), requires_grad=True)
    assert not sample(Dynamics(VP(), DATA.predict(VP())), x, grid(VP(), 3), ddim).requires_grad


@pytest.mark.parametrize(
    ("ts", "said"),
    [
        ([0.1, 0.5], "strictly decreasing"),
        ([0.5, 0.5], "strictly decreasing"),
        ([0.9, math.nan], "strictly decreasing"),
        ([0.5], "at least two times"),
        ([[0.5, 0.1]], "at least two times"),
        ([0.5, 0.0], r"times in \[0.001, 1\]"),
        ([0.9, 0.5, 0.0], r"times in \[0.001, 1\]"),
        ([1.1, 0.5], r"times in \[0.001, 1\]"),
    ],
)
def test_grids_that_cannot_be_followed_are_refused(ts, said):
    with pytest.raises(ValueError, match=f"ts: expected .*{said}"):
        sample(Dynamics(VP(), DATA.predict(VP())), torch.zeros(2), torch.tensor(ts), euler)


def test_a_solver_that_diverges_says_so():
    with pytest.raises(FloatingPointError, match="not finite"):
        sample(Dynamics(VP(), lambda x, t: Prediction(x * math.inf, x)), torch.ones(2), grid(VP(), 3), ddim)
