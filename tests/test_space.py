"""Floor 5: scale and shift for each channel, packing, and the two ways in which scales are measured."""

import pytest
import torch
from test_latent import Plain

from tinyldm import LatentSpace, pack, seeded, unpack


def pictures(n=6, side=8, channels=3, seed=0):
    """Images whose channels differ in mean and spread."""
    x = torch.rand(n, channels, side, side, generator=seeded(seed)) - 0.5
    return x * torch.tensor([1.0, 0.3, 0.1])[:channels, None, None] + torch.tensor([0.2, -0.4, 0.0])[:channels, None, None]


@pytest.mark.equation("latent-scale")
def test_each_channel_can_have_a_scale_and_a_shift_of_its_own():
    x = pictures()
    space = LatentSpace.measured(Plain(), x, per_channel=True)
    z = space.encode(x).double().numpy()
    assert z.mean(axis=(0, 2, 3)) == pytest.approx([0, 0, 0], abs=1e-5)
    assert z.std(axis=(0, 2, 3)) == pytest.approx([1, 1, 1], rel=1e-5)
    torch.testing.assert_close(space.decode(torch.from_numpy(z)), x)


def test_one_number_for_all_leaves_the_channels_different():
    z = LatentSpace.measured(Plain(), pictures()).encode(pictures())
    assert z.std().item() == pytest.approx(1, abs=0.01)
    spread = z.std(dim=(0, 2, 3))
    assert spread[0] > 2 * spread[1] > 4 * spread[2]


def test_the_scale_of_stable_diffusion_has_no_shift_and_may_come_from_a_first_batch():
    x = pictures(64)
    first = LatentSpace.measured(Plain(), x[:8], centre=False)
    assert first.shift == 0
    assert first.scale == pytest.approx(1 / x[:8].double().numpy().std(), rel=1e-5)
    whole = LatentSpace.measured(Plain(), x, centre=False)
    assert first.scale == pytest.approx(whole.scale, rel=0.05)
    assert first.scale != whole.scale


@pytest.mark.equation("pack")
def test_a_packed_space_holds_the_tokens_of_pack_on_a_grid():
    x = pictures(side=8)
    z = LatentSpace(Plain(), scale=2.0, shift=0.1, pack=2).encode(x)
    assert z.shape == (6, 12, 4, 4)
    torch.testing.assert_close(z.flatten(2).transpose(1, 2), pack((x - 0.1) * 2.0, 2))
    torch.testing.assert_close(LatentSpace(Plain(), scale=2.0, shift=0.1, pack=2).decode(z), x)


@pytest.mark.equation("pack")
@pytest.mark.parametrize(("p", "height", "width"), [(1, 3, 5), (2, 4, 6), (3, 9, 3)])
def test_packing_is_the_order_of_the_formula_and_loses_nothing(p, height, width):
    z = torch.randn(2, 5, height, width, generator=seeded(0))
    tokens = pack(z, p)
    assert tokens.shape == (2, height * width // p**2, 5 * p * p)
    for row, column, c, i, j in ((0, 0, 4, 0, p - 1), (height // p - 1, width // p - 1, 2, p - 1, 0)):
        token = tokens[1, row * (width // p) + column]
        assert token[(c * p + i) * p + j] == z[1, c, row * p + i, column * p + j]  # (c ph pw)
    assert torch.equal(unpack(tokens, height, width, p), z)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: pack(torch.zeros(4, 4, 4)), "z: expected four dimensions"),
        (lambda: pack(torch.zeros(1, 4, 5, 4)), "height, width: expected sides divisible by p=2, got 5x4"),
        (lambda: pack(torch.zeros(1, 4, 4, 4), 0), "p: expected a whole number >= 1, got 0"),
        (lambda: unpack(torch.zeros(1, 4, 16), 4, 6), "tokens: expected 6, one for each 2x2 square, got 4 of them"),
        (lambda: unpack(torch.zeros(1, 4, 15), 4, 4), "tokens: expected a multiple of 4, got 15 channels"),
        (lambda: unpack(torch.zeros(4, 16), 4, 4), "tokens: expected three dimensions"),
        (lambda: LatentSpace(Plain(), scale=0.0), "scale: expected no number that is 0"),
        (lambda: LatentSpace(Plain(), scale=[1.0, 0.0]), "scale: expected no number that is 0"),
        (lambda: LatentSpace(Plain(), shift=float("nan")), "shift: expected finite numbers"),
        (lambda: LatentSpace(Plain(), scale=torch.ones(2, 2)), r"scale: expected one number, or one a channel"),
        (lambda: LatentSpace(Plain(), pack=0), "pack: expected a whole number >= 1, got 0"),
        (lambda: LatentSpace(Plain(), pack=3).encode(pictures()), "x: expected sides divisible by pack=3"),
        (lambda: LatentSpace(Plain(), pack=2).decode(torch.zeros(1, 3, 4, 4)), "z: expected a multiple of pack"),
        (lambda: LatentSpace(Plain(), scale=[1.0, 2.0]).encode(pictures()), "scale, shift: expected 3"),
        (lambda: LatentSpace.measured(Plain(), torch.zeros(2, 3, 4, 4)), "images: expected latents that vary"),
    ],
)
def test_what_does_not_fit_is_named(call, said):
    with pytest.raises(ValueError, match=said):
        call()
