"""Floor 5: real photographs, from what is installed, train and test apart."""

from importlib.resources import files

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from skimage import data as skimage_data

from tinyldm import data
from tinyldm.data.photos import CROPS, PHOTOS, SCALES


def test_every_photograph_is_installed_and_in_one_split():
    train, test = data.photo_names("train"), data.photo_names("test")
    assert sorted(train + test) == sorted(PHOTOS)
    assert not set(train) & set(test)
    assert {"astronaut", "chelsea", "page"} <= set(test)  # a face, a cat, printed letters
    for name in PHOTOS:
        picture = data.photo(name)
        assert (picture.ndim, len(picture), picture.dtype) == (3, 3, torch.float32)
        assert min(picture.shape[1:]) >= 128
        assert -1 <= picture.min() < -0.4 < 0.4 < picture.max() <= 1


@pytest.mark.parametrize(
    ("name", "truth"), [("astronaut", skimage_data.astronaut), ("coffee", skimage_data.coffee), ("page", skimage_data.page)]
)
def test_a_photograph_is_scikit_image_s_own(name, truth):
    pixels = np.asarray(truth())
    pixels = pixels if pixels.ndim == 3 else np.stack([pixels] * 3, axis=2)  # grey is repeated
    np.testing.assert_allclose(data.photo(name).permute(1, 2, 0), pixels / 127.5 - 1, atol=1e-6)


def test_a_photograph_is_matplotlib_s_own():
    pixels = imread(files("matplotlib") / "mpl-data" / "sample_data" / "grace_hopper.jpg")
    np.testing.assert_allclose(data.photo("hopper").permute(1, 2, 0), pixels / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(("size", "side"), [(None, 64), (32, 32), (100, 100)])
def test_crops_are_images_with_the_number_of_their_photograph(split, size, side):
    crops = data.load("photos", split, size=size, n=50).tensors
    assert (crops["image"].shape, crops["image"].dtype) == ((50, 3, side, side), torch.float32)
    assert crops["image"].abs().max() <= 1
    assert (crops["label"].shape, crops["label"].dtype) == ((50,), torch.int64)
    assert 0 <= crops["label"].min() <= crops["label"].max() < len(data.photo_names(split))


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_crop_is_cut_out_of_the_photograph_that_its_label_names(split):
    """Slide every crop over its photograph at each scale: somewhere, perhaps mirrored, the two are the same to the last bit."""
    crops = data.load("photos", split, size=48, n=12, seed=3).tensors
    for image, label in zip(crops["image"], crops["label"]):
        whole = data.photo(data.photo_names(split)[label])
        found = 0
        for scale in SCALES:
            size = [round(side * scale) for side in whole.shape[1:]]
            level = torch.nn.functional.interpolate(whole[None], size=size, mode="bicubic", antialias=True)[0].clamp(-1, 1)
            windows = (level if scale < 1 else whole).unfold(1, 48, 1).unfold(2, 48, 1)
            for candidate in [image, image.flip(-1)][: 2 if split == "train" else 1]:
                corner = (windows[..., 0, 0] - candidate[:, None, None, 0, 0]).abs().amax(0) < 1e-5
                same = windows[:, corner] - candidate[:, None]
                found += int((same.abs().amax((0, 2, 3)) < 1e-5).sum())
        assert found >= 1


def test_crops_are_a_function_of_the_seed():
    def crops(**options):
        return data.load("photos", n=20, size=16, **options).tensors["image"]

    assert torch.equal(crops(seed=4), crops(seed=4))
    assert not torch.equal(crops(seed=4), crops(seed=5))


def test_every_place_is_as_likely_as_every_other():
    """A photograph's share of the crops is its share of the places, at all scales together."""
    labels = data.load("photos", "test", size=64, n=3000).tensors["label"]
    shapes = [data.photo(name).shape[1:] for name in data.photo_names("test")]
    places = np.array([sum(max(0, round(h * s) - 63) * max(0, round(w * s) - 63) for s in SCALES) for h, w in shapes])
    expected = 3000 * places / places.sum()
    assert (((np.bincount(labels) - expected) ** 2 / expected).sum()) < 14  # chi-squared, 2 degrees of freedom: p = 0.001


def test_photographs_are_decoded_once_and_never_handed_out():
    first = data.photo("chelsea")
    first.zero_()
    data.photo_crop("chelsea-eye", size=80).zero_()
    assert data.photo("chelsea").std() > 0.1
    assert data.photo_crop("chelsea-eye", size=80).std() > 0.1


@pytest.mark.parametrize("name", CROPS)
def test_named_crops_lie_inside_photographs_of_the_test_split(name):
    crop = CROPS[name]
    assert crop.photo in data.photo_names("test")
    whole = data.photo(crop.photo)
    cut = whole[:, crop.top : crop.top + crop.side, crop.left : crop.left + crop.side]
    assert cut.shape == (3, crop.side, crop.side)
    assert torch.equal(data.photo_crop(name, crop.side), cut)
    small = data.photo_crop(name, 32)
    assert small.shape == (3, 32, 32)
    torch.testing.assert_close(small.mean((1, 2)), cut.mean((1, 2)), rtol=0, atol=0.01)


def test_large_crops_leave_small_photographs_out():
    names = data.photo_names("test")
    large = data.load("photos", "test", size=250, n=30).tensors["label"]
    assert {names[k] for k in large.tolist()} == {"astronaut", "chelsea"}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: data.load("photos", size=600), "size: expected at most 512, the largest square in a train photograph, got 600"),
        (lambda: data.load("photos", n=0), "n: expected a whole number >= 1"),
        (lambda: data.photo("astronut"), "name='astronut' is unknown; did you mean 'astronaut'"),
        (lambda: data.photo_crop("astronaut"), "name='astronaut' is unknown; did you mean 'astronaut-"),
        (lambda: data.photo_crop("page-text", 0), "size: expected a whole number of pixels >= 1"),
        (lambda: data.photo_names("all"), "split='all' is unknown"),
    ],
)
def test_requests_that_cannot_be_met_are_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_an_installation_without_the_picture_is_told_apart(monkeypatch):
    from tinyldm.data import photos

    monkeypatch.setitem(PHOTOS, "gone", photos.Photo("train", "skimage", "data/gone.png"))
    with pytest.raises(ValueError, match=r"'gone', but skimage brings no data/gone\.png here"):
        data.photo("gone")
