"""Floor 5: the data sets are what they say they are."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.datasets import load_digits

from tinyldm import data
from tinyldm.data import InMemory


def rows(images):
    return [tuple(image.flatten().tolist()) for image in images]


@pytest.fixture(scope="module")
def both():
    """Train and test digits at their original size, where resizing changes nothing."""
    return data.load("digits", size=8).tensors, data.load("digits", "test", size=8).tensors


@pytest.mark.parametrize(("split", "n"), [("train", 1437), ("test", 360)])
@pytest.mark.parametrize(("size", "side"), [(None, 32), (8, 8), (20, 20)])
def test_digits_are_images_with_labels(split, n, size, side):
    digits = data.load("digits", split, size)
    image, label = digits.tensors["image"], digits.tensors["label"]
    assert (image.shape, image.dtype) == ((n, 1, side, side), torch.float32)
    assert (label.shape, label.dtype) == ((n,), torch.int64)
    assert (image.min().item(), image.max().item()) == (-1, 1)
    assert len(digits) == n


def test_digits_are_scikit_learn_s_own_with_their_labels(both):
    raw = load_digits()
    truth = {row: int(label) for row, label in zip(rows(torch.from_numpy(raw.images) / 8 - 1), raw.target)}
    assert len(truth) == 1797  # no two scans are alike, so an image identifies its label
    for tensors in both:
        for row, label in zip(rows(tensors["image"].double()), tensors["label"].tolist()):
            assert truth.pop(row) == label
    assert not truth  # every scan is in exactly one split


def test_the_split_is_stratified(both):
    train, test = (np.bincount(tensors["label"], minlength=10) for tensors in both)
    assert len(train) == len(test) == 10
    assert (np.abs(test - 0.2 * (train + test)) < 1).all()


def test_enlarging_keeps_the_picture(both):
    """Pooling the 32x32 image back to 8x8 gives nearly the scan again: nothing is mirrored, turned or shifted."""
    small = torch.nn.functional.adaptive_avg_pool2d(data.load("digits").tensors["image"], 8)
    assert (small - both[0]["image"]).abs().mean() < 0.1


@pytest.mark.parametrize("name", ["digits", "points"])
def test_loading_twice_gives_the_same_and_shares_nothing(name):
    first = data.load(name).tensors
    kept = {key: tensor.clone() for key, tensor in first.items()}
    for tensor in first.values():
        tensor.zero_()  # a careless reader
    second = {key: tensor.clone() for key, tensor in data.load(name).tensors.items()}
    for key, tensor in first.items():
        tensor.copy_(kept[key])  # the other tests must not suffer where it does matter
    for key, tensor in kept.items():
        assert torch.equal(second[key], tensor), key


@pytest.fixture(params=["train", "test"])
def split(request):
    return request.param


def test_mixture_is_six_gaussians_on_a_circle(split):
    tensors = data.load("points", split, shape="mixture", n=12_000).tensors
    assert (tensors["point"].shape, tensors["label"].shape) == ((12_000, 2), (12_000,))
    assert stats.chisquare(np.bincount(tensors["label"], minlength=6)).pvalue > 1e-4
    for k in range(6):
        part = tensors["point"][tensors["label"] == k]
        centre = [math.cos(math.pi / 3 * k), math.sin(math.pi / 3 * k)]
        np.testing.assert_allclose(part.mean(0), centre, atol=0.012)  # five standard errors: 5 * 0.1 / sqrt(2000)
        np.testing.assert_allclose(np.cov(part.T), 0.01 * np.eye(2), atol=0.0016)


def test_rings_have_radius_a_half_and_one(split):
    tensors = data.load("points", split, shape="rings", n=4000).tensors
    for label, radius in ((0, 0.5), (1, 1.0)):
        part = tensors["point"][tensors["label"] == label]
        r, angle = part.norm(dim=1), torch.atan2(part[:, 1], part[:, 0])
        assert 1800 < len(part) < 2200
        assert stats.kstest(r.numpy(), stats.norm(radius, 0.05).cdf).pvalue > 1e-4
        assert stats.kstest(angle.numpy(), stats.uniform(-math.pi, 2 * math.pi).cdf).pvalue > 1e-4


def test_moons_are_two_interleaved_half_circles(split):
    tensors = data.load("points", split, shape="moons", n=4000).tensors
    for label, sign in ((0, 1), (1, -1)):
        part = tensors["point"][tensors["label"] == label] * sign + torch.tensor([0.5, 0.25])
        r, angle = part.norm(dim=1), torch.atan2(part[:, 1], part[:, 0])
        assert r.mean().item() == pytest.approx(1, abs=0.02)
        assert r.std().item() == pytest.approx(0.05, rel=0.1)
        assert ((angle > -0.2) | (angle > math.pi - 0.2) | (angle < 0.2 - math.pi)).all()
        assert (part[:, 1] > -0.3).all()  # the upper half
        assert stats.kstest(angle[(angle > 0.3) & (angle < 2.8)].numpy(), stats.uniform(0.3, 2.5).cdf).pvalue > 1e-4


@pytest.mark.parametrize("shape", ["mixture", "rings", "moons"])
def test_points_are_a_function_of_shape_split_and_seed(shape):
    def points(**options):
        return data.load("points", shape=shape, n=50, **options).tensors["point"]

    draws = [points(seed=s, split=w) for s in range(3) for w in ("train", "test")]
    for i, a in enumerate(draws):
        assert not any(torch.equal(a, b) for b in draws[:i])
    assert torch.equal(points(seed=2, split="test"), draws[-1])


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"name": "digit"}, "name='digit' is unknown; did you mean 'digits'"),
        ({"name": "digits", "split": "tset"}, "split='tset' is unknown; did you mean 'test'"),
        ({"name": "digits", "size": 0}, "size: expected a whole number of pixels >= 1"),
        ({"name": "digits", "size": 8.5}, "size: expected a whole number of pixels >= 1"),
        ({"name": "points", "size": 8}, "size: expected None"),
        ({"name": "points", "shape": "moon"}, "shape='moon' is unknown; did you mean 'moons'"),
        ({"name": "points", "sed": 1}, "option of 'points'='sed' is unknown; did you mean 'seed'"),
        ({"name": "photos", "path": "."}, r"option of 'photos'='path' is unknown.*known: n, seed\)"),
        ({"name": "digits", "n": 4}, "option of 'digits'='n' is unknown"),
        ({"name": "mnist", "number": 4}, r"option of 'mnist'='number' is unknown.*known: n, data_home\)"),
        ({"name": "points", "n": 0}, "n: expected a whole number >= 1"),
    ],
)
def test_requests_that_cannot_be_met_are_refused(request_, said):
    with pytest.raises(ValueError, match=said):
        data.load(**request_)


def test_in_memory_gives_examples_and_batches():
    both = InMemory({"x": torch.arange(6).reshape(3, 2), "y": torch.tensor([5, 6, 7])})
    assert len(both) == 3
    assert both[1]["x"].tolist() == [2, 3]
    batch = both[torch.tensor([2, 0, 2])]
    assert batch["x"].tolist() == [[4, 5], [0, 1], [4, 5]]
    assert batch["y"].tolist() == [7, 5, 7]
    (loaded,) = torch.utils.data.DataLoader(both, batch_size=3)
    assert loaded["y"].tolist() == [5, 6, 7]


def test_in_memory_says_what_it_holds():
    data = InMemory({"x": torch.zeros(2, 3, 4), "label": torch.tensor([0, 1]), "file": ["a", "b"]}, ["cats", "dogs"])
    assert repr(data) == "InMemory(x float32 (2, 3, 4); label int64 (2,); file list (2,); 2 classes: cats, dogs)"
    assert repr(InMemory({"x": torch.zeros(1)})) == "InMemory(x float32 (1,))"
    assert InMemory({"x": torch.zeros(1)}).classes == []


@pytest.mark.parametrize("tensors", [{}, {"x": torch.zeros(3), "y": torch.zeros(2)}])
def test_in_memory_needs_one_length(tensors):
    with pytest.raises(ValueError, match="one common length"):
        InMemory(tensors)
