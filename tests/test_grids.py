"""Floor 4: the times a solver visits."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from oracles import ALL_PATHS
from scipy.integrate import quad

from tinyldm import VP, DiscreteVP, RectifiedFlow, grid, timesteps

KINDS = ("t", "lam", "karras", "centred", "discrete")


@pytest.mark.parametrize("n", [1, 2, 17])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", **ALL_PATHS)
def test_a_grid_falls_from_t_max_to_t_min_in_n_steps(path, kind, n):
    ts = grid(path, n, kind)
    assert ts.shape == (n + 1,)
    assert ts.dtype == torch.float64
    assert (ts.diff() < 0).all()
    assert (ts[0].item(), ts[-1].item()) == (path.t_max, path.t_min)


@pytest.mark.parametrize("path", **ALL_PATHS)
def test_each_kind_is_uniform_in_its_own_clock(path):
    clocks = {
        "t": lambda t: t,
        "lam": lambda t: torch.log(path.alpha(t) / path.sigma(t)),
        "karras": lambda t: (path.sigma(t) / path.alpha(t)) ** (1 / 7),  # rho = 7
    }
    for kind, clock in clocks.items():
        gaps = clock(grid(path, 40, kind)).diff()
        torch.testing.assert_close(gaps, gaps.mean().expand(40), rtol=1e-7, atol=1e-9)


@pytest.mark.equation("karras-grid")
def test_karras_noise_levels_are_their_equation_5():
    path, n, rho = RectifiedFlow(), 18, 7.0
    top, bottom = 0.999 / 0.001, 0.001 / 0.999  # sigma / alpha = t / (1 - t) at both ends
    i = torch.arange(n + 1, dtype=torch.float64)
    levels = (top ** (1 / rho) + i / n * (bottom ** (1 / rho) - top ** (1 / rho))) ** rho
    torch.testing.assert_close(grid(path, n, "karras"), levels / (1 + levels), rtol=1e-9, atol=1e-12)


@pytest.mark.equation("centred-grid")
@pytest.mark.parametrize("path", **ALL_PATHS)
def test_centred_steps_hold_equal_shares_of_their_density(path):
    lams = path.lam(grid(path, 12, "centred")).tolist()
    shares = [quad(lambda lam: 0.4 + 1 / math.cosh(lam + math.log(0.5)), a, b)[0] for a, b in pairwise(lams)]
    np.testing.assert_allclose(shares, sum(shares) / 12, rtol=1e-6)


def test_discrete_times_are_entries_of_the_table():
    table = DiscreteVP.from_betas(steps=50)
    entries = table.clock(grid(table, 7, "discrete"))
    torch.testing.assert_close(entries, entries.round(), rtol=0, atol=1e-9)
    assert entries.diff().abs().min() >= 6
    with pytest.raises(ValueError, match="n: expected a whole number of steps from 1 to 50"):
        grid(table, 50, "discrete")  # 51 times


@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
@pytest.mark.parametrize(("path", "last"), [(VP(), 1000), (RectifiedFlow(), 999)], ids=["VP", "RectifiedFlow"])
def test_a_path_without_a_table_has_an_entry_each_thousandth(path, last, spacing):
    """t_min = 0.001 is entry 0, t_max = 1 or 0.999 the last: all of them, in thousandths, and not one more."""
    every = timesteps(path, last, spacing)
    torch.testing.assert_close(every, torch.arange(last, 0, -1, dtype=torch.float64) / 1000, rtol=1e-12, atol=0)
    with pytest.raises(ValueError, match=f"n: expected a whole number of steps from 1 to {last}"):
        timesteps(path, last + 1, spacing)


@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
def test_the_smallest_table_has_two_times(spacing):
    assert timesteps(DiscreteVP(torch.tensor([0.9, 0.1])), 2, spacing).tolist() == [1.0, 0.5]


@pytest.mark.parametrize("kind", ["lam", "karras", "centred"])
def test_without_data_at_the_noisy_end_lam_has_no_grid(kind):
    path = DiscreteVP.from_betas(zero_terminal_snr=True)
    with pytest.raises(ValueError, match="kind: expected 't' or 'discrete': this path has no data left at t_max"):
        grid(path, 5, kind)
    for works in ("t", "discrete"):
        assert grid(path, 5, works)[0] == 1


def test_uniform_in_lam_is_the_default():
    assert torch.equal(grid(VP(), 9), grid(VP(), 9, "lam"))


@pytest.mark.parametrize("n", [0, -1, 2.0, "5"])
def test_the_number_of_steps_is_a_whole_number(n):
    with pytest.raises(ValueError, match="n: expected a whole number of steps >= 1"):
        grid(VP(), n)


def test_unknown_kinds_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"kind='karas' is unknown; did you mean 'karras'\?"):
        grid(VP(), 5, "karas")
