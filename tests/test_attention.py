"""The blocks of the transformer: what they are equal to when one looks at them from another side."""

import pytest
import torch
import torch.nn.functional as F
from diffusers_maps import assert_same, perturb
from torch import nn

from tinyldm.nn import pack
from tinyldm.nn.attention import JointBlock, Projections, SingleBlock, Stream, attend, modulate
from tinyldm.nn.positions import rotation

WIDTH, HEADS = 24, 3


@pytest.fixture
def stream(rng):
    """Makes streams with weights of their own."""
    return lambda ends=False, qk_norm=True: perturb(Stream(WIDTH, HEADS, qk_norm, ends=ends), rng)


@pytest.fixture
def given(rng):
    """Text (2, 4, 24), image (2, 6, 24) and an embedding (2, 24)."""
    return [torch.randn(2, n, WIDTH, generator=rng) for n in (4, 6)], torch.randn(2, WIDTH, generator=rng)


@torch.no_grad()
@pytest.mark.parametrize("p", [1, 2, 3])
def test_cutting_into_patches_by_a_convolution_is_packing_and_a_linear_map(p, rng):
    x, conv = torch.randn(2, 3, 2 * p, 4 * p, generator=rng), perturb(nn.Conv2d(3, 8, p, p), rng)
    linear = F.linear(pack(x, p), conv.weight.flatten(1), conv.bias)
    torch.testing.assert_close(linear, conv(x).flatten(2).transpose(1, 2), rtol=0, atol=1e-6)


@torch.no_grad()
@pytest.mark.equation("adaln")
def test_modulation_is_a_layer_norm_with_given_weights(rng):
    x, shift, scale = torch.randn(2, 5, WIDTH, generator=rng), *torch.randn(2, 2, 1, WIDTH, generator=rng)
    for i in range(2):
        norm = nn.LayerNorm(WIDTH, 1e-6)
        norm.weight.copy_(1 + scale[i, 0])
        norm.bias.copy_(shift[i, 0])
        torch.testing.assert_close(modulate(x, shift, scale)[i], norm(x[i]))


@torch.no_grad()
@pytest.mark.equation("joint-attention")
def test_the_order_of_the_streams_does_not_matter(stream, given):
    (text, image), emb = given
    a, b = stream(), stream()
    first, second = JointBlock(image=a, text=b)([text, image], emb), JointBlock(image=b, text=a)([image, text], emb)
    assert_same(first[0], second[1], "text")
    assert_same(first[1], second[0], "image")


@torch.no_grad()
def test_two_streams_with_the_same_weights_are_one(stream, given):
    xs, emb = given
    same = stream()
    apart, together = JointBlock(same, same)(xs, emb), JointBlock(same)([torch.cat(xs, 1)], emb)
    assert_same(torch.cat(apart, 1), together[0], "tokens")


@torch.no_grad()
def test_an_ending_text_tells_the_image_what_a_lasting_one_does(stream, given):
    xs, emb = given
    image, lasting, ending = stream(), stream(), stream(ends=True)
    state = lasting.state_dict()
    shift, scale = (state.pop(f"modulation.{kind}").chunk(6)[:2] for kind in ("weight", "bias"))
    state = {name: t for name, t in state.items() if name.startswith("qkv")}
    weights, biases = torch.cat(shift[::-1]), torch.cat(scale[::-1])  # without a gate, the scale comes first
    ending.load_state_dict({**state, "modulation.weight": weights, "modulation.bias": biases})
    whole, short = JointBlock(image, lasting)(xs, emb), JointBlock(image, ending)(xs, emb)
    assert_same(short[1], whole[1], "image")
    assert torch.equal(short[0], xs[0])


@torch.no_grad()
def test_a_closed_gate_lets_nothing_through(given):
    """Fresh blocks: all shifts, scales and gates are zero."""
    xs, emb = given
    joint, single = (JointBlock(Stream(WIDTH, HEADS, False), Stream(WIDTH, HEADS, False)), SingleBlock(WIDTH, HEADS, False))
    assert all(torch.equal(y, x) for y, x in zip(joint(xs, emb), xs, strict=True))
    assert torch.equal(single(xs[0], emb), xs[0])


@torch.no_grad()
def test_attention_is_the_softmax_of_scalar_products(rng):
    """One head at a time, written out; hidden tokens have weight zero."""
    q, k, v = torch.randn(3, 2, 5, HEADS, 8, generator=rng)
    mask = torch.tensor([[True, True, False, True, False], [True] * 5])
    seen = attend(q, k, v, mask).unflatten(2, (HEADS, 8))
    for b in range(2):
        for h in range(HEADS):
            scores = (q[b, :, h] @ k[b, :, h].T / 8**0.5).masked_fill(~mask[b], -torch.inf)
            torch.testing.assert_close(seen[b, :, h], scores.softmax(1) @ v[b, :, h])


@torch.no_grad()
def test_normalised_queries_and_keys_have_one_length(rng):
    q, k, v = Projections(WIDTH, HEADS, True)(100 * torch.randn(2, 5, WIDTH, generator=rng))
    for t in (q, k):
        torch.testing.assert_close(t.square().mean(3), torch.ones(2, 5, HEADS))
    assert v.std() > 10


@torch.no_grad()
def test_rotation_makes_attention_see_relative_places_only(rng):
    """A picture moved by a row and a column, in a larger grid whose other tokens are hidden."""
    block = perturb(SingleBlock(WIDTH, HEADS, True), rng)
    emb, axes, grid = torch.randn(1, WIDTH, generator=rng), (0, 4, 4), torch.zeros(1, 4, 4, WIDTH)
    patch, made = torch.randn(1, 3, 3, WIDTH, generator=rng), []
    for i in (0, 1):
        x, seen = grid.clone(), torch.zeros(1, 4, 4, dtype=torch.bool)
        x[:, i : i + 3, i : i + 3], seen[:, i : i + 3, i : i + 3] = patch, True
        y = block(x.flatten(1, 2), emb, rotation(0, 4, 4, axes, x), seen.flatten(1))
        made.append(y.unflatten(1, (4, 4))[:, i : i + 3, i : i + 3])
    assert_same(*made, "moved picture")
    turned = block(patch.flip(1).flatten(1, 2), emb, rotation(0, 3, 3, axes, patch)).unflatten(1, (3, 3)).flip(1)
    assert not torch.allclose(turned, made[0], atol=1e-3)
