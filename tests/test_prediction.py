"""Floor 2: the rows against the definitions in the papers, and the round trip between all of them."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import ALL_PATHS, PATHS, scalar, times

from tinyldm import PARAMETRISATIONS, VP, RectifiedFlow, resolve, target

SIX = ("x0", "eps", "v", "score", "flow", "edm")
numbers = st.lists(st.floats(-3, 3), min_size=4, max_size=4).map(lambda v: torch.tensor(v, dtype=torch.float64))


def batch(path, rng, n=8):
    """Clean data, noise, times and the noisy data they make; all (n,) float64, made without the library's help."""
    t = times(path, n)
    x0, eps = (torch.randn(n, generator=rng, dtype=torch.float64) for _ in range(2))
    return x0, eps, t, path.alpha(t) * x0 + path.sigma(t) * eps


def test_the_six_names():
    assert set(PARAMETRISATIONS) == set(SIX)


@pytest.mark.equation("row")
@pytest.mark.parametrize("path", **ALL_PATHS)
def test_targets_are_what_their_papers_say(path, rng):
    x0, eps, t, x = batch(path, rng)
    alpha, sigma = path.alpha(t), path.sigma(t)
    assert torch.equal(target("x0", path, x0, eps, t), x0)
    assert torch.equal(target("eps", path, x0, eps, t), eps)
    # Salimans and Ho: v = alpha eps - sigma x
    torch.testing.assert_close(target("v", path, x0, eps, t), alpha * eps - sigma * x0)
    # score: the gradient of log N(x; alpha x0, sigma^2) in x
    free = x.clone().requires_grad_()
    torch.distributions.Normal(alpha * x0, sigma).log_prob(free).sum().backward()
    torch.testing.assert_close(target("score", path, x0, eps, t), free.grad, rtol=1e-9, atol=1e-9)
    # flow: the speed of x_t when x0 and eps are held
    clock = t.clone().requires_grad_()
    (path.alpha(clock) * x0 + path.sigma(clock) * eps).sum().backward()
    torch.testing.assert_close(target("flow", path, x0, eps, t), clock.grad, rtol=1e-10, atol=1e-10)


@pytest.mark.equation("row")
@pytest.mark.parametrize("path", **ALL_PATHS)
def test_edm_is_the_network_inside_karras_preconditioning(path, rng):
    """D(x; sigma) = c_skip x + c_out F with sigma_data = 1/2 (their table 1), at x_t / alpha and noise level sigma / alpha."""
    x0, eps, t, x = batch(path, rng)
    level = path.sigma(t) / path.alpha(t)
    c_skip, c_out = 0.25 / (level**2 + 0.25), level * 0.5 / torch.sqrt(level**2 + 0.25)
    f = target("edm", path, x0, eps, t)
    torch.testing.assert_close(c_skip * x / path.alpha(t) + c_out * f, x0, rtol=1e-9, atol=1e-9)
    # their reason for it: with data of standard deviation 1/2 the target has variance 1 at every level
    a, b = (target("edm", path, *unit, t) for unit in ((torch.ones(8).double(), 0 * eps), (0 * eps, torch.ones(8).double())))
    torch.testing.assert_close(0.25 * a**2 + b**2, torch.ones(8, dtype=torch.float64))


@pytest.mark.equation("resolve")
@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(sorted(PATHS)),
    row=st.sampled_from(SIX),
    other=st.sampled_from(SIX),
    x0=numbers,
    eps=numbers,
    u=st.floats(0, 1),
)
def test_every_parametrisation_converts_to_every_other(name, row, other, x0, eps, u):
    path = PATHS[name]
    t = scalar(path.t_min + u * (path.t_max - path.t_min))
    x = path.alpha(t) * x0 + path.sigma(t) * eps
    p = resolve(row, path, x, t, target(row, path, x0, eps, t))
    # dividing by alpha or sigma amplifies the rounding of the inputs: allow a few units of 2^-52 times that
    tolerance = 200 * 2**-52 / float(path.alpha(t) * path.sigma(t))
    torch.testing.assert_close(p.x0, x0, rtol=0, atol=tolerance)
    torch.testing.assert_close(p.eps, eps, rtol=0, atol=tolerance)
    y = target(other, path, x0, eps, t)
    tight = 200 * 2**-52 * (1 + float(y.abs().max()))
    torch.testing.assert_close(target(other, path, p.x0, p.eps, t), y, rtol=0, atol=tight / float(path.alpha(t) * path.sigma(t)))


@pytest.mark.equation("resolve")
@pytest.mark.parametrize("row", SIX)
def test_resolve_keeps_x_whatever_the_network_says(row, rng):
    """Even from a wrong output, x0 and eps must be a decomposition of x_t, and their target the output."""
    path, t = VP(), times(VP(), 8)
    x, y = (torch.randn(8, 3, generator=rng, dtype=torch.float64) for _ in range(2))
    p = resolve(row, path, x, t, y)
    torch.testing.assert_close(path.alpha(t)[:, None] * p.x0 + path.sigma(t)[:, None] * p.eps, x, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(target(row, path, p.x0, p.eps, t), y, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("row", SIX)
def test_a_vector_of_times_is_each_time_by_itself(row, rng):
    path, t = RectifiedFlow(), torch.tensor([0.1, 0.5, 0.9])
    x0, eps = (torch.randn(3, 2, 2, generator=rng) for _ in range(2))
    y = target(row, path, x0, eps, t)
    together = resolve(row, path, path.marginal(x0, eps, t), t, y)
    for i in range(3):
        torch.testing.assert_close(y[i], target(row, path, x0[i : i + 1], eps[i : i + 1], t[i])[0])
        torch.testing.assert_close(together.x0[i], x0[i], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together.eps[i], eps[i], rtol=1e-4, atol=1e-5)
    assert y.dtype == together.x0.dtype == torch.float32


def test_a_row_of_one_s_own(rng):
    def average(path, t):
        return torch.full_like(t, 0.5), torch.full_like(t, 0.5)

    x0, eps, t, x = batch(VP(), rng)
    y = target(average, VP(), x0, eps, t)
    torch.testing.assert_close(y, (x0 + eps) / 2)
    keep = (VP().alpha(t) - VP().sigma(t)).abs() > 0.05  # where alpha = sigma this row says what x_t says
    p = resolve(average, VP(), x[keep], t[keep], y[keep])
    torch.testing.assert_close(p.x0, x0[keep], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("row", "t"), [("eps", 1.0), ("score", 1.0), ("x0", 0.0), ("edm", 1.0)])
def test_where_a_row_says_nothing_new_resolve_refuses(row, t):
    x = torch.ones(2, 1)
    with pytest.raises(ValueError, match=rf"parametrisation='{row}'.*does not determine"):
        resolve(row, RectifiedFlow(), x, torch.tensor([0.5, t]), x)


@pytest.mark.parametrize("row", ["v", "flow"])
@pytest.mark.parametrize("t", [0.0, 1.0])
def test_v_and_flow_are_never_singular(row, t, rng):
    path = RectifiedFlow()
    x0, eps = (torch.randn(2, 3, generator=rng) for _ in range(2))
    p = resolve(row, path, path.marginal(x0, eps, torch.tensor(t)), torch.tensor(t), target(row, path, x0, eps, torch.tensor(t)))
    torch.testing.assert_close(p.x0, x0)
    torch.testing.assert_close(p.eps, eps)


@pytest.mark.parametrize("bad", [-0.1, 1.5, math.nan])
def test_times_outside_the_unit_interval_are_refused(bad):
    x = torch.ones(2, 1)
    for call in (lambda t: target("v", VP(), x, x, t), lambda t: resolve("v", VP(), x, t, x)):
        with pytest.raises(ValueError, match="t: expected values in"):
            call(torch.tensor([0.5, bad]))


def test_unknown_rows_are_refused_with_the_nearest():
    x, t = torch.ones(1, 1), torch.tensor(0.5)
    for call in (lambda: target("epsilon", VP(), x, x, t), lambda: resolve("epsilon", VP(), x, t, x)):
        with pytest.raises(ValueError, match=r"parametrisation='epsilon' is unknown; did you mean 'eps'\?"):
            call()
