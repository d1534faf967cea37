"""Attention maps are the weights that the layers use, one distribution a query, and recording them changes nothing."""

import pytest
import torch
from conftest import seeded_build
from diffusers_maps import perturb

from tinyldm import Condition
from tinyldm.nn import UNetConfig, attention_maps, attention_weights, word_maps
from tinyldm.nn.attention import TransformerBlock, attend

CONFIG = UNetConfig(2, (8, 8), (1, 2), heads=(1, 2), groups=4, classes=0, tokens=6, cross_only=(True, False))
NAMES = {  # a level that looks at the tokens twice, one of two blocks a place, and the middle
    **{f"{part}.attention.blocks.0.self_attention": 32 for part in ("down.0", "up.3", "up.4")},
    **{f"{part}.attention.blocks.0.cross_attention": 32 for part in ("down.0", "up.3", "up.4")},
    **{f"{part}.attention.blocks.{i}.cross_attention": 8 for part in ("down.2", "up.0", "up.1") for i in (0, 1)},
    "middle.0.attention.blocks.0.cross_attention": 8,
}


@pytest.fixture
def unet(rng):
    return perturb(seeded_build(CONFIG), rng)


@pytest.fixture
def given(rng):
    """x (2, 2, 4, 8) and three tokens, of which the first text has two."""
    mask = torch.tensor([[True, True, False], [True, True, True]])
    return torch.randn(2, 2, 4, 8, generator=rng), Condition(tokens=torch.randn(2, 3, 6, generator=rng), tokens_mask=mask)


def hooks(net):
    return sum(len(module._forward_hooks) for module in net.modules())


def test_the_weights_are_a_softmax_of_scalar_products(rng):
    """One query and one head at a time, and they are those with which ``attend`` averages."""
    q, k, v = (torch.randn(2, n, 3, 4, generator=rng, dtype=torch.float64) for n in (5, 6, 6))
    mask = torch.rand(2, 6, generator=rng) > 0.4
    for seen in (None, mask):
        found = attention_weights(q, k, seen)
        assert found.shape == (2, 3, 5, 6)
        for b, h, n in ((b, h, n) for b in range(2) for h in range(3) for n in range(5)):
            e = torch.stack([torch.exp(q[b, n, h] @ k[b, m, h] / 4**0.5) for m in range(6)])
            e = e if seen is None else e * seen[b]
            torch.testing.assert_close(found[b, h, n], e / e.sum())
        average = torch.einsum("bhnm,bmhd->bnhd", found, v).flatten(2)
        torch.testing.assert_close(average, attend(q, k, v, seen))


@torch.no_grad()
def test_recording_changes_no_output_and_leaves_no_hook(unet, given):
    x, cond = given
    before = unet(x, 3, cond)
    with attention_maps(unet) as record:
        assert torch.equal(unet(x, 3, cond), before)
        unet(x, 5, cond)
    assert hooks(unet) == 0
    unet(x, 7, cond)
    assert {name: len(calls) for name, calls in record.items()} == dict.fromkeys(NAMES, 2)
    for name, pixels in NAMES.items():
        for weights in record[name]:
            heads = 1 if pixels == 32 else 2
            assert weights.shape == (2, heads, pixels, 3), name
            torch.testing.assert_close(weights.sum(3), torch.ones(2, heads, pixels))
            assert weights[0, ..., 2].abs().max() == 0
            assert weights[1, ..., 2].min() > 0


def test_gradients_stay_what_they_are(unet, given):
    x, cond = given
    unet(x, 3, cond).sum().backward()
    before = {name: p.grad.clone() for name, p in unet.named_parameters()}
    unet.zero_grad()
    with attention_maps(unet) as record:
        unet(x, 3, cond).sum().backward()
    assert all(torch.equal(p.grad, before[name]) for name, p in unet.named_parameters())
    assert not any(weights.requires_grad for calls in record.values() for weights in calls)


def test_the_hooks_go_also_when_the_network_fails(unet, given):
    with pytest.raises(ValueError, match="tokens"), attention_maps(unet):
        unet(given[0], 3)
    assert hooks(unet) == 0


def test_a_block_by_itself_and_no_block_at_all(rng):
    block = TransformerBlock(4, 5, heads=2)
    with attention_maps(block) as record:
        block(torch.randn(1, 6, 4, generator=rng), torch.randn(1, 3, 5, generator=rng))
    assert {name: calls[0].shape for name, calls in record.items()} == {"cross_attention": (1, 2, 6, 3)}
    plain = seeded_build(UNetConfig(2, (8,), (1,), heads=2, groups=4))
    with pytest.raises(ValueError, match="net: expected a network with transformer blocks"), attention_maps(plain):
        pass


@torch.no_grad()
def test_maps_of_words_share_every_pixel(unet, given):
    with attention_maps(unet) as record:
        unet(given[0], 3, given[1])
    maps = word_maps(record, (8, 16))
    assert maps.shape == (2, 3, 8, 16)
    torch.testing.assert_close(maps.sum(1), torch.ones(2, 8, 16))
    assert maps[0, 2].abs().max() == 0
    flat = [weights.mean((1, 2)) for calls in record.values() for weights in calls]  # a mean survives stretching by halves
    torch.testing.assert_close(maps.mean((2, 3)), torch.stack(flat).mean(0))


def test_a_map_is_the_mean_of_heads_and_layers_where_the_pixels_are():
    """Two levels of a picture of 2x4 pixels: the second, one of 1x2, is stretched."""
    fine, coarse = torch.zeros(1, 2, 8, 2), torch.zeros(1, 1, 2, 2)
    fine[0, :, 5, 0] = torch.tensor([0.25, 0.75])
    coarse[0, 0, 1, 1] = 1
    maps = word_maps({"a": [fine], "b": [coarse]}, (2, 4))
    expected = torch.zeros(2, 2, 4)
    expected[0, 1, 1] = 0.25
    expected[1] = torch.tensor([0.0, 0.25, 0.75, 1.0]) / 2
    torch.testing.assert_close(maps[0], expected)


@pytest.mark.parametrize(
    ("record", "size", "said"),
    [
        ({}, (4, 4), "record: expected those of at least one call"),
        ({"a": []}, (4, 4), "record: expected those of at least one call"),
        ({"a": [torch.ones(1, 1, 8, 2)]}, (4, 4), "size: expected the proportions of the picture"),
        ({"a": [torch.ones(1, 1, 7, 2)]}, (4, 4), "size: expected the proportions"),
        ({"a": [torch.ones(1, 1, 4, 2)]}, (0, 4), "size: expected a whole number >= 1"),
        ({"a": [torch.ones(1, 1, 4, 2), torch.ones(1, 1, 4, 3)]}, (4, 4), r"record: expected the same.*\(1, 2\), \(1, 3\)"),
        ({"a": [torch.ones(1, 1, 4, 2)], "b": [torch.ones(2, 1, 4, 2)]}, (4, 4), "record: expected the same samples"),
    ],
)
def test_what_makes_no_map_is_refused(record, size, said):
    with pytest.raises(ValueError, match=said):
        word_maps(record, size)
