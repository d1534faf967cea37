"""Floor 4: grids that begin, or end, where no data is left: alpha = 0, lam infinite, so the first step is DDIM's."""

from functools import cache, partial

import pytest
import torch
from oracles import scalar

from tinyldm import (
    DiscreteVP,
    Dynamics,
    GaussianMixture,
    RectifiedFlow,
    ddim,
    dpmpp_2m,
    exp_ab,
    exp_abm,
    invert,
    resolve,
    rk45,
    sample,
    seeded,
    target,
    unipc,
)

PATHS = {
    "RectifiedFlow": RectifiedFlow(),
    "DiscreteVP": DiscreteVP.from_betas("scaled_linear", 0.00085, 0.012, zero_terminal_snr=True),
}
STEPS = {
    "dpmpp_2m": dpmpp_2m,
    **{f"exp_ab({k})": partial(exp_ab, order=k) for k in (1, 2, 3, 4)},
    **{f"unipc({k})": partial(unipc, order=k) for k in (1, 2, 3)},
    **{f"exp_abm({k})": partial(exp_abm, order=k) for k in (1, 3, 5)},
}
MIXTURE = GaussianMixture(
    torch.tensor([0.3, 0.2, 0.5]), torch.tensor([[1.0, 0.3], [-0.8, 0.5], [0.1, -1.0]]), torch.tensor([0.5, 0.6, 0.4])
)
NOISE = torch.randn(12, 2, dtype=torch.float64, generator=seeded(1))
each_step = pytest.mark.parametrize("name", STEPS)
each_path = pytest.mark.parametrize("kind", PATHS)
each_row = pytest.mark.parametrize("row", ["v", "flow", "x0"])


def dynamics(kind, row):
    """The mixture's denoiser, dressed as a network of this parametrisation and read back."""
    path = PATHS[kind]
    oracle = MIXTURE.predict(path)

    def predict(x, t):
        p = oracle(x, t)
        return resolve(row, path, x, t, target(row, path, p.x0, p.eps, t))

    return Dynamics(path, predict)


def from_the_end(n):
    """n + 1 times from exactly 1 down to 0.02, closer together where the data are decided."""
    return 0.02 + 0.98 * torch.linspace(1, 0, n + 1, dtype=torch.float64)


@cache
def exact(kind):
    """Where the noise at t = 1 goes, at t = 0.02: by SciPy's order 8 along the straight line, as a path is a choice of units."""
    path, line, end = PATHS[kind], PATHS["RectifiedFlow"], scalar(0.02)
    level = path.sigma(end) / path.alpha(end)
    ts = torch.stack([scalar(1.0), level / (1 + level)])  # on the line sigma/alpha = t/(1 - t)
    there = sample(Dynamics(line, MIXTURE.predict(line)), NOISE, ts, rk45(1e-10, 1e-10, "DOP853"), denoise=False)
    return there / (1 - ts[1]) * path.alpha(end)


@each_row
@each_path
@each_step
def test_the_first_step_is_ddim_s_and_the_rest_starts_anew(name, kind, row):
    field, ts, seen = dynamics(kind, row), from_the_end(10), []
    assert PATHS[kind].at(ts[0]).alpha == 0
    sample(field, NOISE, ts, STEPS[name], denoise=False, callback=lambda i, s, x: seen.append(x))
    # at alpha = 0 the state is noise alone: eps = x, and x0 is what the mixture's mean says
    mean = (MIXTURE.weights[:, None] * MIXTURE.means).sum(0)
    first = PATHS[kind].alpha(ts[1]) * mean + PATHS[kind].sigma(ts[1]) * NOISE
    torch.testing.assert_close(seen[0], first, rtol=1e-9, atol=1e-9)
    assert torch.equal(seen[0], ddim(field, NOISE, ts[0], ts[1])[0])
    rest = []
    sample(field, seen[0], ts[1:], STEPS[name], denoise=False, callback=lambda i, s, x: rest.append(x))
    assert torch.equal(torch.stack(seen[1:]), torch.stack(rest))


@each_path
@each_step
def test_what_follows_is_finite_and_converges_to_the_exact_flow(name, kind):
    """With half the steps' length less than 0.65 of the error is left, and a good deal less than DDIM's own."""
    field, gaps = dynamics(kind, "v"), []
    for n in (40, 80):
        ends = [sample(field, NOISE, from_the_end(n), step, denoise=False) for step in (STEPS[name], ddim)]
        gaps.append([float((end - exact(kind)).abs().max()) for end in ends])
    (before, _), (after, plain) = gaps
    assert after < 0.65 * before
    assert after < (1.001 if name == "exp_ab(1)" else 0.5) * plain
    assert plain < 0.1


@each_path
@each_step
def test_the_climb_ends_with_ddim_s_step(name, kind):
    field, ts, seen = dynamics(kind, "flow"), from_the_end(60), []
    x = exact(kind)
    end = invert(field, x, ts, STEPS[name], callback=lambda i, s, x: seen.append((s, x)))
    assert seen[-1][0] == 1
    assert torch.equal(end, ddim(field, seen[-2][1], ts[1], ts[0])[0])
    plain = float((invert(field, x, ts, ddim) - NOISE).abs().max())
    assert float((end - NOISE).abs().max()) < (1.001 if name == "exp_ab(1)" else 0.5) * plain < 0.1


@each_step
def test_a_step_that_ends_there_forgets_what_it_remembered(name):
    """Up to t = 1 and down again: the way down is the one that begins there."""
    field, step = dynamics("RectifiedFlow", "v"), STEPS[name]
    x, memory = step(field, NOISE, scalar(0.8), scalar(0.9), None)
    x, memory = step(field, x, scalar(0.9), scalar(1.0), memory)
    assert memory is None


@pytest.mark.parametrize("name", [name for name in STEPS if name != "exp_ab(1)"])
def test_where_any_data_is_left_a_step_goes_its_own_way(name):
    field, ts, seen = dynamics("RectifiedFlow", "v"), torch.tensor([0.999, 0.998, 0.996], dtype=torch.float64), []
    sample(field, NOISE, ts, STEPS[name], denoise=False, callback=lambda i, s, x: seen.append(x))
    assert float((seen[1] - ddim(field, seen[0], ts[1], ts[2])[0]).abs().max()) > 1e-8
