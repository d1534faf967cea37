"""Floor 0: broadcasting, refusals, devices, scales and generators."""

import numpy as np
import pytest
import torch

from tinyldm import VP, GaussianMixture, device, expand, grid, scale, seeded
from tinyldm.errors import choose, expect, image_batch, in_range, whole_number
from tinyldm.runtime import normal


def test_expand_multiplies_each_sample_by_its_own_coefficient():
    c, x = torch.tensor([1.0, 2.0, -3.0]), torch.arange(24.0).reshape(3, 2, 4)
    assert torch.equal(expand(c, x) * x, torch.stack([k * part for k, part in zip(c, x)]))


@pytest.mark.parametrize("shape", [(3,), (3, 3), (3, 3, 3, 3)])
def test_expand_never_broadcasts_along_another_axis(shape):
    # (B,) against (B, B) would also broadcast by itself, silently along the wrong axis
    assert expand(torch.ones(3), torch.zeros(shape)).shape == (3, *(1,) * (len(shape) - 1))


def test_expand_takes_the_type_of_x_and_leaves_scalars_alone():
    x = torch.zeros(2, 2, dtype=torch.float32)
    assert expand(torch.ones(2, dtype=torch.float64), x).dtype == torch.float32
    one = torch.tensor(1.5, dtype=torch.float64)
    assert expand(one, x) is one
    assert (expand(one, x) * x).dtype == torch.float32  # a scalar does not promote an array


@pytest.mark.parametrize("c", [torch.ones(2), torch.ones(1), torch.ones(3, 1), torch.ones(0)])
def test_expand_refuses_other_lengths(c):
    with pytest.raises(ValueError, match=r"c: expected shape \(\) or \(3,\)"):
        expand(c, torch.zeros(3, 4))


def test_choose_returns_the_entry():
    assert choose("solver", "heun", {"euler": 1, "heun": 2}) == 2


@pytest.mark.parametrize(("given", "meant"), [("huen", "heun"), ("EULER", "euler"), ("dpmpp2m", "dpmpp_2m"), ("dim", "ddim")])
def test_choose_names_the_argument_the_nearest_and_all_known(given, meant):
    table = dict.fromkeys(["euler", "heun", "ddim", "dpmpp_2m"])
    with pytest.raises(ValueError, match=rf"solver='{given}' is unknown; did you mean '{meant}'.*euler, heun, ddim, dpmpp_2m"):
        choose("solver", given, table)


def test_choose_from_nothing_still_explains():
    with pytest.raises(ValueError, match="name='x' is unknown"):
        choose("name", "x", {})


def test_expect_says_what_and_why():
    expect(True, "n", 3, "anything")
    with pytest.raises(ValueError, match=r"^n: expected a whole number, got 2\.5$"):
        expect(False, "n", 2.5, "a whole number")


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), np.arange(4)[-1]])
def test_whole_takes_the_whole_numbers_of_python_and_numpy(value):
    found = whole_number("n", value, 1, 3)
    assert found == 3
    assert type(found) is int


@pytest.mark.parametrize("value", [True, np.True_, 3.0, np.float64(3), "3", None, torch.tensor(3), [3]])
def test_whole_refuses_what_is_no_whole_number(value):
    with pytest.raises(ValueError, match=r"^n: expected a whole number >= 1, got "):
        whole_number("n", value, 1)


@pytest.mark.parametrize(("value", "high", "bounds"), [(0, None, ">= 1"), (-2, 8, "from 1 to 8"), (9, 8, "from 1 to 8")])
def test_whole_refuses_what_lies_outside(value, high, bounds):
    with pytest.raises(ValueError, match=rf"^n: expected a number of steps {bounds}, got {value}$"):
        whole_number("n", value, 1, high, "a number of steps")


def test_a_number_from_numpy_is_a_number_everywhere():
    for n in np.array([4, 8]):
        assert torch.equal(grid(VP(), n), grid(VP(), int(n)))
        assert GaussianMixture([1.0], [[0.0]], stds=[1.0]).sample(n).shape == (n, 1)


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan"), float("inf"), -float("inf")])
def test_in_range_refuses_one_bad_value_among_good_ones(bad):
    with pytest.raises(ValueError, match=r"t: expected values in \[0, 1\]"):
        in_range("t", torch.tensor([0.2, bad, 0.4]), 0.0, 1.0)


def test_in_range_accepts_the_borders_integers_and_nothing():
    in_range("t", torch.tensor([0.0, 1.0]), 0.0, 1.0)
    in_range("label", torch.tensor([0, 9]), 0, 9)
    in_range("t", torch.empty(0), 0.0, 1.0)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((3, 8, 8), "four dimensions"),
        ((1, 3, 8, 8, 1), "four dimensions"),
        ((1, 1, 8, 8), "expected 3 channels, got 1 channels"),
        ((1, 3, 6, 8), "divisible by 4, got 6x8"),
        ((1, 3, 8, 6), "divisible by 4, got 8x6"),
        ((1, 3, 0, 8), "divisible by 4, got 0x8"),
    ],
)
def test_image_batch_names_what_is_wrong(shape, said):
    with pytest.raises(ValueError, match=rf"^x: .*{said}"):
        image_batch("x", torch.zeros(shape), channels=3, factor=4)


def test_image_batch_accepts_a_good_one():
    image_batch("x", torch.zeros(2, 3, 8, 4), channels=3, factor=4)


def test_seeded_is_a_function_of_the_seed():
    a, b, c = (torch.randn(8, generator=seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_normal_draws_from_the_generator_given_and_from_no_other():
    like = torch.zeros(1, dtype=torch.float64)
    before = torch.get_rng_state()
    a = normal((2, 3), seeded(0), like)
    assert torch.equal(torch.get_rng_state(), before)
    assert a.dtype == torch.float64
    assert torch.equal(a, torch.randn(2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))


def test_scale_follows_the_environment(monkeypatch):
    for name in ("ci", "cpu", "gpu"):
        monkeypatch.setenv("TINYLDM_SCALE", name)
        assert scale() == name
    monkeypatch.setenv("TINYLDM_SCALE", "gpuu")
    with pytest.raises(ValueError, match=r"TINYLDM_SCALE='gpuu' is unknown; did you mean 'gpu'\?"):
        scale()
    monkeypatch.delenv("TINYLDM_SCALE")
    assert scale() == ("gpu" if torch.cuda.is_available() else "cpu")


def test_device_follows_the_environment(monkeypatch):
    monkeypatch.setenv("TINYLDM_DEVICE", "cpu")
    assert device() == torch.device("cpu")
    monkeypatch.setenv("TINYLDM_DEVICE", "quantum")
    with pytest.raises(ValueError, match="TINYLDM_DEVICE='quantum'"):
        device()
    monkeypatch.delenv("TINYLDM_DEVICE")
    torch.zeros(1, device=device())  # whatever it picks must exist
