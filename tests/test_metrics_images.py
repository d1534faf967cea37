"""Floor 5: structural similarity against scikit-image and in closed form."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from tinyldm import data
from tinyldm.metrics import psnr, ssim


def reference(x, y):
    """Scikit-image's, image by image; its intensities are counted from black like those of the paper."""
    options = {"gaussian_weights": True, "use_sample_covariance": False, "data_range": 2.0, "channel_axis": 0}
    return [structural_similarity((a + 1).numpy(), (b + 1).numpy(), **options) for a, b in zip(x, y)]


@pytest.mark.equation("ssim")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3, 1, 11, 11), (2, 3, 17, 30), (1, 2, 64, 40)])
def test_ssim_is_scikit_image_s(shape, dtype, rng):
    x, y = (torch.rand(shape, generator=rng, dtype=dtype) * 2 - 1 for _ in range(2))
    for other in (y, 0.8 * x + 0.2 * y, -x):
        similarity = ssim(x, other)
        assert similarity.dtype == dtype
        np.testing.assert_allclose(similarity, reference(x.double(), other.double()), rtol=0, atol=1e-6)


@pytest.mark.equation("ssim")
@pytest.mark.parametrize("noise", [0.01, 0.1, 0.5])
def test_ssim_of_photographs_is_scikit_image_s(noise, rng):
    x = data.load("photos", "test", n=6).tensors["image"]
    y = (x + noise * torch.randn(x.shape, generator=rng)).clamp(-1, 1)
    np.testing.assert_allclose(ssim(x, y), reference(x.double(), y.double()), rtol=0, atol=1e-6)


@pytest.mark.equation("ssim")
def test_ssim_of_two_flat_images_compares_their_brightness():
    """No structure: (2 a b + C1) / (a^2 + b^2 + C1) with a and b counted from black."""
    levels = [(0.0, 0.0), (-1.0, 1.0), (-1.0, -0.98), (0.3, 0.5)]
    x, y = (torch.tensor([p[i] for p in levels], dtype=torch.float64).reshape(4, 1, 1, 1).expand(4, 3, 12, 12) for i in (0, 1))
    expected = [(2 * (a + 1) * (b + 1) + 4e-4) / ((a + 1) ** 2 + (b + 1) ** 2 + 4e-4) for a, b in levels]
    np.testing.assert_allclose(ssim(x, y), expected, rtol=1e-9)


def test_ssim_of_a_copy_is_one_and_it_is_symmetric(rng):
    x, y = (torch.rand(2, 3, 16, 16, generator=rng) * 2 - 1 for _ in range(2))
    torch.testing.assert_close(ssim(x, x), torch.ones(2))
    torch.testing.assert_close(ssim(x, y), ssim(y, x))
    assert (ssim(x, y) < 0.2).all()


def test_ssim_can_be_followed_by_gradients(rng):
    x, y = (torch.rand(1, 1, 12, 13, generator=rng, dtype=torch.float64) * 2 - 1 for _ in range(2))
    assert torch.autograd.gradcheck(lambda y: ssim(x, y), y.requires_grad_())


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        ((2, 3, 16, 16), (2, 3, 16, 17), "y: expected the shape of x"),
        ((2, 3, 10, 16), (2, 3, 10, 16), "x: .*at least 11 pixels"),
        ((3, 16, 16), (3, 16, 16), r"x: expected \(B, C, H, W\)"),
    ],
)
def test_ssim_refuses_what_its_window_does_not_fit(x, y, said):
    with pytest.raises(ValueError, match=said):
        ssim(torch.zeros(x), torch.zeros(y))


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_measures_refuse_what_is_no_image(measure):
    x = torch.zeros(2, 3, 16, 16)
    with pytest.raises(ValueError, match=r"x: expected values in \[-1.*, 1.*\], got \[0, 255\]"):
        measure(torch.arange(256.0).expand(1, 1, 256, 256), torch.zeros(1, 1, 256, 256))
    with pytest.raises(ValueError, match=r"x: expected values in .*nan"):
        measure(x * math.nan, x)
    with pytest.raises(ValueError, match=r"y: expected values in .*nan"):
        measure(x, x * math.nan)
    assert measure(x, x + 1.2).shape == (2,)  # a decoder's output before it is clamped
