"""Floor 5: kernel distance, precision and recall against double loops, scikit-learn, exact expectations and known cases."""

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors

from tinyldm.metrics import frechet_distance, kid, precision_recall


def normal(rng, *shape):
    return torch.randn(shape, generator=rng, dtype=torch.float64)


def mmd2(x, y):
    """The definition, with scikit-learn's kernel and the diagonal taken out."""
    kxx, kyy, kxy = (polynomial_kernel(a, b, degree=3, gamma=1 / a.shape[1], coef0=1) for a, b in ((x, x), (y, y), (x, y)))
    np.fill_diagonal(kxx, 0)
    np.fill_diagonal(kyy, 0)
    n, m = len(x), len(y)
    return kxx.sum() / (n * (n - 1)) + kyy.sum() / (m * (m - 1)) - 2 * kxy.mean()


@pytest.mark.equation("kid")
@pytest.mark.parametrize("shape", [(2, 3, 1), (30, 17, 5), (1100, 40, 8)])
def test_kid_is_the_definition_with_scikit_learn_s_kernel(shape, rng):
    n, m, width = shape
    x, y = normal(rng, n, width), 0.5 + 2 * normal(rng, m, width)
    assert kid(x, y) == pytest.approx(mmd2(x.numpy(), y.numpy()), rel=1e-9)
    assert kid(x.float(), y.float()) == pytest.approx(kid(x, y), rel=1e-4)


def moments(values):
    return [float(torch.tensor(values, dtype=torch.float64).pow(k).mean()) for k in (1, 2, 3)]


@pytest.mark.equation("kid")
def test_kid_is_exactly_unbiased():
    """Every possible pair of samples of two finite distributions, averaged: the distance of the distributions themselves."""
    p, q = [0.0, 1.0, -2.0], [0.5, 3.0]
    samples = [
        kid(torch.tensor(x)[:, None], torch.tensor(y)[:, None])
        for x in itertools.product(p, repeat=3)
        for y in itertools.product(q, repeat=2)
    ]
    truth = sum(w * (a - b) ** 2 for w, a, b in zip((3, 3, 1), moments(p), moments(q)))
    assert np.mean(samples) == pytest.approx(truth, rel=1e-9)
    same = [
        kid(torch.tensor(x)[:, None], torch.tensor(y)[:, None])
        for x in itertools.product(q, repeat=2)
        for y in itertools.product(q, repeat=2)
    ]
    assert np.mean(same) == pytest.approx(0, abs=1e-9)
    assert min(same) < 0  # an estimate may be negative


@pytest.mark.equation("kid")
def test_kid_of_two_gaussians_is_near_its_closed_form(rng):
    """In one dimension the kernel compares three moments; those of N(m, s^2) are m, m^2 + s^2, m^3 + 3 m s^2."""
    estimates = torch.tensor([kid(normal(rng, 200, 1), 0.3 + 1.2 * normal(rng, 200, 1)) for _ in range(200)])
    truth = 3 * 0.3**2 + 3 * (1 - 0.3**2 - 1.44) ** 2 + (0.3**3 + 3 * 0.3 * 1.44) ** 2
    assert abs(estimates.mean().item() - truth) < 4 * estimates.std().item() / math.sqrt(200)


def test_kid_over_subsets_is_seeded_and_agrees_with_all_pairs(rng):
    x, y = normal(rng, 600, 4), 0.5 + normal(rng, 500, 4)
    seeded = [kid(x, y, subsets=50, subset_size=200, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert seeded[0] == seeded[1] != seeded[2]
    assert seeded[0] == pytest.approx(kid(x, y), rel=0.1)
    everything = kid(x[:500], y, subsets=1, subset_size=500, generator=rng)
    assert everything == pytest.approx(kid(x[:500], y), rel=1e-9)


def share(points, centres, k):
    """Scikit-learn's neighbours, and every point against every ball."""
    reach = NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(centres).kneighbors(centres)[0][:, -1]
    return np.mean([any(np.linalg.norm(p - c) <= r for c, r in zip(centres, reach)) for p in points])


@pytest.mark.equation("precision-recall")
@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("width", [1, 2, 6])
def test_precision_and_recall_are_brute_force(k, width, rng):
    real, fake = normal(rng, 60, width), 0.7 * normal(rng, 45, width) + 0.5
    precision, recall = precision_recall(real, fake, k)
    assert precision == pytest.approx(share(fake.numpy(), real.numpy(), k))
    assert recall == pytest.approx(share(real.numpy(), fake.numpy(), k))
    assert (recall, precision) == precision_recall(fake, real, k)


@pytest.mark.equation("precision-recall")
def test_precision_and_recall_on_a_line_by_hand():
    """Data 0, 1, 2, 10 reach 1, 1, 1 and 8: their territory is [-1, 18]. Samples 0.5, 3, 30 reach 2.5, 2.5, 27: [-2, 57]."""
    real, fake = torch.tensor([[0.0], [1.0], [2.0], [10.0]]), torch.tensor([[0.5], [3.0], [30.0]])
    assert precision_recall(real, fake, k=1) == pytest.approx((2 / 3, 1.0))
    beyond = torch.tensor([[-5.0], [-4.0]])  # they reach 1
    assert precision_recall(real, beyond, k=1) == (0.0, 0.0)


def test_dropped_modes_cost_recall_and_invented_ones_precision(rng):
    """Four far clusters of data: samples of two of them are all good, and half of the data is not there."""
    data = normal(rng, 4, 100, 3) + 100 * torch.arange(4).reshape(4, 1, 1)
    half = data[:2].flatten(0, 1)
    assert precision_recall(data.flatten(0, 1), half) == (1.0, 0.5)
    assert precision_recall(half, data.flatten(0, 1)) == (0.5, 1.0)
    assert precision_recall(half, half.flip(0)) == (1.0, 1.0)
    assert precision_recall(half, half.repeat(600, 1)[:1500]) == (1.0, 1.0)  # more than one piece, with duplicates


@pytest.mark.parametrize("measure", [frechet_distance, kid, precision_recall])
@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (torch.ones(1, 3), torch.ones(8, 3), "_features: .*N >= "),
        (torch.ones(8, 3), torch.ones(8), "_features: .*N >= "),
        (torch.ones(8, 3), torch.ones(8, 2), "(y|fake)_features: expected the width of (x|real)_features, 3, got width 2"),
        (torch.ones(8, 3), torch.full((8, 3), math.nan), "_features: expected finite numbers, got NaN"),
        (torch.full((8, 3), math.inf), torch.ones(8, 3), "_features: expected finite numbers, got NaN or inf"),
    ],
)
def test_sets_that_cannot_be_compared_are_refused(measure, x, y, said):
    with pytest.raises(ValueError, match=said):
        measure(x, y)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: precision_recall(x, x, k=0), "k: expected a whole number >= 1"),
        (lambda x: precision_recall(x, x, k=5), r"\(N, D\) with N >= 6"),
        (lambda x: kid(x, x, subsets=0), "subsets: expected None or a whole number >= 1"),
        (lambda x: kid(x, x, subsets=3), "subset_size: expected a whole number from 2 to 5, got 1000"),
        (lambda x: kid(x, x, subsets=3, subset_size=1), "subset_size: expected a whole number from 2 to 5"),
    ],
)
def test_options_out_of_range_are_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call(torch.arange(10.0).reshape(5, 2))
