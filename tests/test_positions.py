"""Positions are diffusers' positions, and have the properties that they are made for."""

import pytest
import torch
from diffusers_maps import assert_same

from tinyldm.nn.positions import CroppedTable, StretchedTable, grid_table, rotate, rotation

pytest.importorskip("diffusers")
from diffusers.models.embeddings import PatchEmbed, apply_rotary_emb, get_2d_sincos_pos_embed
from diffusers.models.transformers.transformer_flux import FluxPosEmbed


@pytest.mark.equation("grid-table")
@pytest.mark.parametrize(("height", "width", "dim"), [(1, 1, 4), (3, 5, 8), (8, 2, 24)])
def test_the_table_is_diffusers(height, width, dim):
    ours = grid_table(torch.arange(height), torch.arange(width), dim)
    theirs = get_2d_sincos_pos_embed(dim, (height, width), base_size=1, interpolation_scale=1)
    assert ours.shape == theirs.shape == (height * width, dim)
    theirs = get_2d_sincos_pos_embed(dim, 8, base_size=8).unflatten(0, (8, 8))[:height, :width].flatten(0, 1)
    torch.testing.assert_close(ours, theirs.float(), rtol=0, atol=1e-6)


def test_half_of_a_position_is_the_column_and_half_the_row():
    table = grid_table(torch.arange(3), torch.arange(5), 8).unflatten(0, (3, 5))
    assert torch.equal(table[:1, :, :4].expand(3, 5, 4), table[..., :4])
    assert torch.equal(table[:, :1, 4:].expand(3, 5, 4), table[..., 4:])
    assert torch.equal(table[0, 0], torch.tensor([0.0, 0, 1, 1, 0, 0, 1, 1]))


@pytest.mark.parametrize(("side", "size"), [(4, 4), (3, 9), (5, 7), (64, 192), (8, 6)])
def test_a_cropped_table_is_the_middle_of_diffusers_table(side, size):
    theirs = PatchEmbed(side * 2, side * 2, 2, 1, 8, pos_embed_max_size=size)
    ours = CroppedTable(side, size, 8)
    torch.testing.assert_close(ours.pos_embed, theirs.pos_embed, rtol=0, atol=1e-6)
    for height, width in ((size, size), (1, size), (size - 1, 2)):
        got = ours(torch.zeros(2, height * width, 8), height, width)
        torch.testing.assert_close(got[1:], theirs.cropped_pos_embed(2 * height, 2 * width), rtol=0, atol=1e-6)
    for height, width in ((size + 1, 1), (1, size + 1)):
        with pytest.raises(ValueError, match=f"x: expected at most the table's {size}x{size}, got {height}x{width} tokens"):
            ours(torch.zeros(1, height * width, 8), height, width)
    assert list(ours.state_dict()) == ["pos_embed"]


@pytest.mark.parametrize(("height", "width"), [(4, 4), (2, 2), (9, 9), (1, 5), (6, 3)])
def test_a_stretched_table_is_diffusers(height, width):
    theirs = PatchEmbed(8, 8, 2, 1, 8)
    with torch.no_grad():
        theirs.proj.weight.zero_()
        theirs.proj.bias.zero_()
        truth = theirs(torch.zeros(1, 1, 2 * height, 2 * width))
    ours = StretchedTable(4, 8)
    torch.testing.assert_close(ours(torch.zeros(1, height * width, 8), height, width), truth, rtol=0, atol=1e-6)
    assert not ours.state_dict()


def places(text, height, width):
    grid = torch.cartesian_prod(torch.zeros(1), torch.arange(height).float(), torch.arange(width).float())
    return torch.cat([torch.zeros(text, 3), grid.reshape(-1, 3)])


@pytest.mark.equation("rope")
@pytest.mark.parametrize("axes", [(16, 56, 56), (2, 2, 4), (0, 4, 4)])
@pytest.mark.parametrize(("text", "height", "width"), [(5, 3, 4), (0, 64, 1), (2, 1, 128)])
def test_rotations_are_flux(axes, text, height, width, rng):
    x = torch.randn(2, text + height * width, 3, sum(axes), generator=rng)
    cos, sin = rotation(text, height, width, axes, x)
    theirs = FluxPosEmbed(10000, axes)(places(text, height, width))
    torch.testing.assert_close(cos.repeat_interleave(2, 1), theirs[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(sin.repeat_interleave(2, 1), theirs[1], rtol=0, atol=1e-6)
    assert_same(rotate(x, (cos, sin)), apply_rotary_emb(x, theirs, sequence_dim=1), "turned")


@pytest.mark.equation("rope")
def test_a_rotation_is_a_product_with_a_unit_complex_number(rng):
    x = torch.randn(1, 12, 2, 8, dtype=torch.float64, generator=rng)
    cos, sin = rotation(0, 3, 4, (2, 2, 4), x)
    assert cos.dtype == torch.float64
    row, column = 2, 3
    angles = torch.tensor([0.0, row, column, column / 100], dtype=torch.float64)  # 10000 ** (-2 / 4) = 1 / 100
    turned = torch.view_as_complex(x[0, row * 4 + column].unflatten(1, (4, 2))) * torch.polar(torch.ones(4).double(), angles)
    truth = torch.view_as_real(turned).flatten(1)
    torch.testing.assert_close(rotate(x, (cos, sin))[0, row * 4 + column], truth, rtol=0, atol=1e-14)


def test_scalar_products_see_differences_of_places_only(rng):
    """And lengths are kept."""
    q, k = torch.randn(2, 8, generator=rng, dtype=torch.float64)
    by = rotation(0, 9, 9, (0, 4, 4), q)
    turned_q, turned_k = (rotate(t.expand(1, 81, 1, 8), by)[0, :, 0].unflatten(0, (9, 9)) for t in (q, k))
    products = torch.einsum("ijd,kld->ijkl", turned_q, turned_k)
    torch.testing.assert_close(products[1:, 2:, 1:, 2:], products[:-1, :-2, :-1, :-2], rtol=0, atol=1e-12)
    assert products.std() > 0.1
    torch.testing.assert_close(turned_q.norm(dim=2), q.norm().expand(9, 9))
