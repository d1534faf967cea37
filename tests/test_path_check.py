"""A path is looked at before it is used, and what is wrong with it is said in a line that names the cure."""

import math

import pytest
import torch
from oracles import PATHS, Trigonometric

from tinyldm import Denoiser, DiscreteVP, Path, grid
from tinyldm.errors import time_grid


def bent(**members):
    return type("Mine", (Trigonometric,), members)()


@pytest.mark.parametrize("kind", ["lam", "karras", "centred"])
@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"t_max": 1.0}, r"no data left at t_max=1.*a smaller t_max"),  # alpha(1) = 6e-17
        ({"t_max": 1 - 1e-9}, r"no data left at t_max=1"),
        ({"t_min": 0.0}, r"no noise left at t_min=0.*a larger t_min"),
    ],
)
def test_where_nothing_is_left_of_one_the_cure_is_named(kind, members, said, net):
    path = bent(**members)
    with pytest.raises(ValueError, match=f"kind: expected 't' or 'discrete': this path has {said}"):
        grid(path, 4, kind)
    assert (grid(path, 4, "t").diff() < 0).all()
    Denoiser(net, path, "v")  # such a path can be learned on


@pytest.fixture
def net():
    return torch.nn.Identity()


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"alpha": lambda self, t: torch.log(0.5 - t)}, r"finite numbers >= 0 from t_min=0.001 to .*got Mine.alpha\(0.001\)"),
        ({"sigma": lambda self, t: 1 / (t - t)}, r"finite numbers >= 0.*Mine.sigma\(0.001\) = inf"),
        ({"alpha": lambda self, t: 1 + t, "sigma": lambda self, t: t * (1 - t)}, "alpha/sigma to fall all the way, got Mine"),
        ({"alpha": lambda self, t: 1 - t, "sigma": lambda self, t: 1 - t}, "alpha/sigma to fall all the way"),
        ({"alpha": lambda self, t: torch.cos(2 * math.pi * t).abs()}, "alpha/sigma to fall all the way"),
        ({"alpha": lambda self, t: torch.ones(3)}, r"one number a time, got Mine.alpha of shape \(3,\)"),
        ({"t_max": 0.001}, "0 <= t_min < t_max"),
    ],
)
def test_a_path_that_does_not_lead_from_data_to_noise_is_refused(members, said, net):
    for use in (lambda path: grid(path, 4), lambda path: Denoiser(net, path, "v")):
        with pytest.raises(ValueError, match=f"path: expected .*{said}") as error:
            use(bent(**members))
        assert len(str(error.value)) < 300


def test_what_is_no_path_or_no_network_is_refused(net):
    with pytest.raises(ValueError, match=r"path: expected a Path, such as VP.*got 'v'"):
        Denoiser(net, "v", PATHS["VP"])
    with pytest.raises(ValueError, match=r"net: expected a network, called with .*, got 'net'"):
        Denoiser("net", PATHS["VP"], "v")
    with pytest.raises(ValueError, match="path: expected a Path"):
        grid(4, PATHS["VP"])


@pytest.mark.parametrize("path", [*PATHS.values(), DiscreteVP.from_betas(zero_terminal_snr=True)], ids=repr)
def test_good_paths_are_good(path, net):
    Denoiser(net, path, "v")


def test_a_path_may_be_constant_in_one_function():
    class Exploding(Path):
        def alpha(self, t):
            return torch.tensor(1.0)

        def sigma(self, t):
            return t

    assert len(grid(Exploding(), 4)) == 5


def test_a_grid_that_does_not_fall_is_told_by_its_first_two_times():
    ts = torch.linspace(1, 0, 2001)
    ts[700] = ts[699]
    with pytest.raises(ValueError, match=r"ts: expected strictly decreasing times") as error:
        time_grid("ts", ts)
    assert str(error.value).endswith("got 0.6505 and then 0.6505 (numbers 699 and 700 of 2001)")
    with pytest.raises(ValueError, match=r"increasing times, got 1 and then 0.9994"):
        time_grid("ts", ts, rising=True)


def test_a_path_says_its_numbers():
    class Mine(Trigonometric):
        def __init__(self, k):
            self.k = k

    assert repr(Mine(2.5)) == "Mine(k=2.5)"
    assert repr(DiscreteVP.from_betas()) == "DiscreteVP(1000 steps, alphas_cumprod 0.9999 ... 4.036e-05)"
