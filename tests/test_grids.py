"""Floor 4: the times a solver visits."""

import pytest
import torch
from oracles import ALL_PATHS

from tinyldm import VP, RectifiedFlow, grid

KINDS = ("t", "lam", "karras")


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


def test_karras_noise_levels_are_their_equation_5():
    path, n, rho = RectifiedFlow(), 18, 7.0
    top, bottom = 0.999 / 0.001, 0.001 / 0.999  # sigma / alpha = t / (1 - t) at both ends
    i = torch.arange(n + 1, dtype=torch.float64)
    levels = (top ** (1 / rho) + i / n * (bottom ** (1 / rho) - top ** (1 / rho))) ** rho
    torch.testing.assert_close(grid(path, n, "karras"), levels / (1 + levels), rtol=1e-9, atol=1e-12)


def test_uniform_in_lam_is_the_default():
    assert torch.equal(grid(VP(), 9), grid(VP(), 9, "lam"))


@pytest.mark.parametrize("n", [0, -1, 2.0, "5"])
def test_the_number_of_steps_is_a_whole_number(n):
    with pytest.raises(ValueError, match="n: expected a whole number of steps >= 1"):
        grid(VP(), n)


def test_unknown_kinds_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"kind='karas' is unknown; did you mean 'karras'\?"):
        grid(VP(), 5, "karas")
