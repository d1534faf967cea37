"""Floor 5: the measures against their definitions, SciPy and brute force."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from tinyldm import data
from tinyldm.metrics import Judge, frechet_distance, nearest_distance, psnr


@pytest.mark.equation("psnr")
@pytest.mark.parametrize(("difference", "decibel"), [(2.0, 0.0), (0.2, 20.0), (0.02, 40.0), (1.0, 10 * math.log10(4))])
def test_psnr_of_a_constant_difference(difference, decibel):
    x = torch.full((2, 3, 4, 4), -1.0)
    torch.testing.assert_close(psnr(x, x + difference), torch.full((2,), decibel), rtol=1e-5, atol=1e-4)


@pytest.mark.equation("psnr")
def test_psnr_is_one_number_an_image_and_the_mean_is_taken_inside_the_logarithm(rng):
    x, y = (torch.rand(3, 2, 5, 5, generator=rng, dtype=torch.float64) * 2 - 1 for _ in range(2))
    expected = [20 * math.log10(2 / np.sqrt(np.mean((x[i] - y[i]).numpy() ** 2))) for i in range(3)]
    np.testing.assert_allclose(psnr(x, y), expected, rtol=1e-12)
    np.testing.assert_allclose(psnr(y, x), expected, rtol=1e-12)


def test_psnr_of_a_copy_is_infinite_and_shapes_must_agree():
    x = torch.zeros(2, 1, 4, 4)
    assert psnr(x, x).tolist() == [math.inf, math.inf]
    with pytest.raises(ValueError, match="y: expected the shape of x"):
        psnr(x, x[:1])


def fid(x, y):
    """The formula as it is usually computed, with SciPy's square root of a matrix."""
    cx, cy = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(cx + cy - 2 * sqrtm(cx @ cy).real)


@pytest.mark.equation("frechet")
@pytest.mark.parametrize("width", [2, 5, 12])
def test_frechet_is_the_formula_with_scipy_s_square_root(width, rng):
    x, y = (torch.randn(100, width, generator=rng) @ torch.randn(width, width, generator=rng) + k for k in range(2))
    assert frechet_distance(x, y) == pytest.approx(fid(x.double().numpy(), y.double().numpy()), rel=1e-8)
    assert frechet_distance(y, x) == pytest.approx(frechet_distance(x, y), rel=1e-10)


@pytest.mark.equation("frechet")
def test_frechet_in_one_dimension_is_in_closed_form(rng):
    x, y = 1.5 * torch.randn(50, 1, generator=rng) + 2, 0.3 * torch.randn(70, 1, generator=rng)
    expected = (x.mean() - y.mean()) ** 2 + (x.std() - y.std()) ** 2
    assert frechet_distance(x, y) == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.equation("frechet")
def test_frechet_of_a_shift_a_scaling_and_a_rotation(rng):
    x = torch.randn(200, 3, generator=rng, dtype=torch.float64)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x, x + torch.tensor([1.0, -2.0, 2.0])) == pytest.approx(9)
    variance = float(x.var(0).sum())
    assert frechet_distance(x - x.mean(0), 3 * (x - x.mean(0))) == pytest.approx(4 * variance)  # (3 - 1)^2 times the variance
    turn = torch.linalg.qr(torch.randn(3, 3, generator=rng, dtype=torch.float64)).Q
    y = x * torch.tensor([1.0, 2.0, 0.5]) + 1
    assert frechet_distance(x @ turn, y @ turn) == pytest.approx(frechet_distance(x, y))


def test_frechet_with_fewer_rows_than_columns(rng):
    """Singular covariances, where SciPy's root is unreliable: embed a full-rank case in more dimensions instead."""
    x, y = (torch.randn(5, 3, generator=rng, dtype=torch.float64) + k for k in range(2))
    turn = torch.linalg.qr(torch.randn(20, 20, generator=rng, dtype=torch.float64)).Q[:3]
    assert frechet_distance(x @ turn, y @ turn) == pytest.approx(frechet_distance(x, y), abs=1e-6)


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        ((1, 3), (5, 3), "x_features: .*N >= 2"),
        ((5, 3), (5,), "y_features: .*N >= 2"),
        ((5, 3), (5, 2), "y_features: expected the width of x"),
    ],
)
def test_frechet_refuses_what_has_no_covariance(x, y, said):
    with pytest.raises(ValueError, match=said):
        frechet_distance(torch.ones(x), torch.ones(y))


@pytest.mark.parametrize("chunk", [1, 3, 256])
def test_nearest_distance_is_brute_force(chunk, rng):
    x, reference = torch.randn(7, 1, 3, 3, generator=rng), torch.randn(11, 1, 3, 3, generator=rng)
    expected = [min(float(((a - b) ** 2).mean()) ** 0.5 for b in reference) for a in x]
    np.testing.assert_allclose(nearest_distance(x, reference, chunk), expected, rtol=1e-5)


def test_nearest_distance_finds_a_copy(rng):
    """What it is for: a copy among many other images is at distance 0, a near copy as near as it is."""
    reference = torch.rand(300, 1, 32, 32, generator=rng) * 2 - 1
    x = reference[[17, 250]] + torch.tensor([0.0, 1e-3]).reshape(2, 1, 1, 1)
    torch.testing.assert_close(nearest_distance(x, reference), torch.tensor([0.0, 1e-3]), rtol=1e-2, atol=1e-6)


def test_nearest_distance_needs_like_with_like():
    with pytest.raises(ValueError, match="reference: expected 4, as in x, got 9 entries a row"):
        nearest_distance(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 3, 3))


def test_the_judge_knows_digits_and_its_features_are_principal_components():
    train, test = data.load("digits").tensors, data.load("digits", "test").tensors
    judge = Judge(train["image"], train["label"], test["image"], components=5)
    assert judge.accuracy(test["image"], test["label"]) > 0.97
    assert judge.accuracy(test["image"], (test["label"] + 1) % 10) < 0.02
    half = test["label"].clone()
    half[::2] = (half[::2] + 1) % 10  # every second label wrong
    assert judge.accuracy(test["image"], half) == pytest.approx(0.5, abs=0.02)
    features = judge.features(test["image"]).double()
    pixels = torch.nn.functional.avg_pool2d(test["image"], 4).flatten(1).double()
    spectrum = torch.linalg.svdvals(pixels - pixels.mean(0))[:5] ** 2 / 359
    torch.testing.assert_close(torch.cov(features.T), torch.diag(spectrum), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(features.mean(0), torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-4)
