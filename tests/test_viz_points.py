"""Top floor: clouds, densities, trajectories and convergence plots draw what they are given."""

import math

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from oracles import scalar

from tinyldm import VP, GaussianMixture
from tinyldm.viz import COLORS, cloud, convergence, density, figure, trajectories


@pytest.fixture
def ax():
    yield figure()[1][0, 0]
    plt.close("all")


def test_a_cloud_has_a_dot_at_every_point(ax, rng):
    points = torch.randn(20, 2, generator=rng).requires_grad_()
    assert cloud(ax, points, "red", size=3.0, span=2.5) is ax
    (dots,) = ax.collections
    np.testing.assert_allclose(dots.get_offsets(), points.detach().numpy(), rtol=1e-6)
    assert to_hex(dots.get_facecolor()[0]).upper() == COLORS["red"]
    assert dots.get_sizes().tolist() == [3]
    assert (ax.get_xlim(), ax.get_ylim(), ax.get_aspect()) == ((-2.5, 2.5), (-2.5, 2.5), 1)


@pytest.mark.parametrize("t", [None, 0.3])
def test_a_density_is_dark_where_the_mixture_is_dense(ax, t):
    """One narrow Gaussian off both diagonals: columns are x, rows are y, upwards."""
    mean, path = (0.9, -0.4), VP()
    mixture = GaussianMixture(torch.ones(1), torch.tensor([mean]), stds=torch.tensor([0.15]))
    when = {} if t is None else {"path": path, "t": scalar(t)}
    assert density(ax, mixture, span=1.5, **when) is ax
    (image,) = ax.images
    values = np.asarray(image.get_array())
    row, column = np.unravel_index(values.argmax(), values.shape)
    left, right, bottom, top = image.get_extent()
    assert (left, right, bottom, top) == (-1.5, 1.5, -1.5, 1.5)
    assert image.origin == "lower"
    x, y = (left + (k + 0.5) / 160 * (right - left) for k in (column, row))
    alpha = 1.0 if t is None else float(path.alpha(scalar(t)))
    spread = 0.15**2 if t is None else alpha**2 * 0.15**2 + float(path.sigma(scalar(t))) ** 2
    assert (x, y) == (pytest.approx(alpha * mean[0], abs=0.03), pytest.approx(alpha * mean[1], abs=0.03))
    assert values.max() == pytest.approx(1 / (2 * math.pi * spread), rel=0.02)  # the height of a Gaussian's top
    assert image.cmap(1.0)[0] < image.cmap(0.0)[0]  # dense is dark
    assert (ax.get_xlim(), ax.get_ylim()) == ((-1.5, 1.5), (-1.5, 1.5))


def test_trajectories_are_one_line_a_sample(ax, rng):
    ts, states = torch.linspace(1, 0, 6), torch.randn(6, 3, generator=rng)
    assert trajectories(ax, ts, states.requires_grad_(), "green") is ax
    assert len(ax.lines) == 3
    for line, values in zip(ax.lines, states.T, strict=True):
        np.testing.assert_allclose(line.get_xdata(), ts)
        np.testing.assert_allclose(line.get_ydata(), values.detach())
        assert line.get_color() == COLORS["green"]
    assert ax.get_xlabel() == "time t"


def test_convergence_is_logarithmic_with_lines_of_pure_order(ax):
    work = [5, 10, 20, 40]
    errors = {"euler": [0.4, 0.2, 0.1, 0.05], "heun": [0.2, 0.05, 0.0125, 0.003]}
    assert convergence(ax, work, errors, orders=(1, 2)) is ax
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert [line.get_label() for line in ax.lines[:2]] == list(errors)
    for line, values in zip(ax.lines[:2], errors.values()):
        assert (list(line.get_xdata()), list(line.get_ydata())) == (work, values)
    assert len({line.get_marker() for line in ax.lines[:2]}) == 2
    for line, order in zip(ax.lines[2:], (1, 2), strict=True):
        y = np.log(np.array(line.get_ydata(), dtype=float))
        np.testing.assert_allclose(np.diff(y) / np.diff(np.log(work)), -order, rtol=1e-9)
        assert line.get_ydata()[0] == pytest.approx(0.4)
        assert line.get_linestyle() == ":"
    assert [text.get_text() for text in ax.texts] == ["order 1", "order 2"]


def test_more_solvers_than_markers_are_drawn_all_the_same(ax):
    convergence(ax, [1, 2], {f"solver {i}": [1.0, 0.5] for i in range(10)})
    assert len(ax.lines) == 10
