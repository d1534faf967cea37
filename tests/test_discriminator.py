"""The patch discriminator: its receptive field by automatic differentiation, its published size, no look at the batch."""

import pytest
import torch
from torch import nn

from tinyldm.nn import DiscriminatorConfig, PatchDiscriminator

PUBLISHED = DiscriminatorConfig(3, 64, 3, norm="batch")


def seen(module, side):
    """The side of the square of pixels on which the middle logit of a (1, C, side, side) picture depends."""
    x = torch.zeros(1, module.config.in_channels, side, side, requires_grad=True)
    logits = module(x)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    touched = x.grad.abs().sum((0, 1)) > 0
    return [int(touched.any(axis).sum()) for axis in (0, 1)]


@pytest.mark.parametrize(("layers", "side"), [(1, 16), (2, 34), (3, 70), (4, 142)])
def test_the_receptive_field(layers, side, build):
    config = DiscriminatorConfig(1, 8, layers, norm="batch")  # in evaluation BatchNorm looks at no other pixel
    assert config.receptive_field == side
    assert seen(build(config), 2 * side + 2**layers) == [side, side]


def test_the_published_size():
    """Three layers of width 64: 2.765 million weights, counted by hand from the paper's C64-C128-C256-C512."""
    convolutions = [3 * 64, 64 * 128, 128 * 256, 256 * 512, 512 * 1]
    by_hand = 16 * sum(convolutions) + 64 + 1 + 2 * (128 + 256 + 512)
    with torch.device("meta"):
        module = PUBLISHED.build()
    assert sum(p.numel() for p in module.parameters()) == by_hand == 2_765_633


@pytest.mark.parametrize("side", [24, 31, 64, 256])
def test_the_map_of_logits(side, build):
    logits = build(PUBLISHED)(torch.zeros(1, 3, side, side))
    assert logits.shape == (1, 1, side // 8 - 2, side // 8 - 2)


def test_with_group_norm_an_opinion_does_not_depend_on_the_batch(build, rng):
    x = torch.rand(4, 3, 32, 32, generator=rng) * 2 - 1
    for norm, independent in (("group", True), ("batch", False)):
        module = build(DiscriminatorConfig(norm=norm)).train()
        assert torch.allclose(module(x)[:1], module(x[:1]), atol=1e-5) == independent


def test_it_learns_to_tell_blurred_from_sharp(build, rng):
    """Noise against its local means, patches that differ in texture only."""
    from tinyldm.losses import hinge_discriminator

    module = build(DiscriminatorConfig(1, 8, 1)).train()
    optimizer = torch.optim.Adam(module.parameters(), 2e-3)
    blur = nn.AvgPool2d(3, stride=1, padding=1)
    for _ in range(40):
        x = torch.randn(8, 1, 16, 16, generator=rng)
        loss = hinge_discriminator(module(x), module(3 * blur(x)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


def test_first_opinions_are_undecided(build, rng):
    logits = build(DiscriminatorConfig())(torch.rand(2, 3, 64, 64, generator=rng) * 2 - 1)
    assert isinstance(build(DiscriminatorConfig()), PatchDiscriminator)
    assert (logits.abs() < 1).float().mean() > 0.8  # inside the margin of the hinge, where it has a gradient


def test_the_discriminator_refuses_what_it_cannot_see(build):
    module = build(DiscriminatorConfig())
    with pytest.raises(ValueError, match=r"x: expected \(B, 3, H, W\) with sides of at least 12, got shape \(1, 3, 12, 11\)"):
        module(torch.zeros(1, 3, 12, 11))
    with pytest.raises(ValueError, match=r"got shape \(1, 1, 64, 64\)"):
        module(torch.zeros(1, 1, 64, 64))
    with pytest.raises(ValueError, match="norm='layer' is unknown"):
        DiscriminatorConfig(norm="layer")
    with pytest.raises(ValueError, match="width: expected a multiple of 8, got 12"):
        DiscriminatorConfig(width=12)
    with pytest.raises(ValueError, match="layers: expected"):
        DiscriminatorConfig(layers=0)
