"""Straight and spherical walks, against the rotation that spherical interpolation is."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial import geometric_slerp

from tinyldm import lerp, seeded, slerp

SHARES = torch.linspace(0, 1, 7, dtype=torch.float64)


@pytest.fixture
def ends(rng):
    return torch.randn(2, 5, 4, 3, 3, generator=rng, dtype=torch.float64).unbind()


def test_both_begin_at_a_and_end_at_b(ends):
    a, b = ends
    for walk in (lerp, slerp):
        steps = walk(a, b, SHARES)
        assert steps.shape == (7, 5, 4, 3, 3)
        torch.testing.assert_close(steps[0], a)
        torch.testing.assert_close(steps[-1], b)
        torch.testing.assert_close(walk(b, a, SHARES.flip(0)), steps)
    torch.testing.assert_close(lerp(a, b, SHARES)[3], (a + b) / 2)


@pytest.mark.equation("slerp")
def test_spherical_steps_are_a_rotation(ends):
    """The matrix exponential of the generator that turns a towards b gives the same points."""
    a, b = (end.reshape(5, -1)[2] for end in ends)
    b = b * a.norm() / b.norm()
    u = a / a.norm()
    v = b - (b @ u) * u
    v = v / v.norm()
    angle = torch.acos((a @ b) / (a.norm() * b.norm()))
    turn = torch.outer(v, u) - torch.outer(u, v)
    for share, point in zip(SHARES, slerp(a[None], b[None], SHARES)[:, 0], strict=True):
        torch.testing.assert_close(point, torch.matrix_exp(share * angle * turn) @ a)


@pytest.mark.equation("slerp")
def test_equal_lengths_and_the_variance_of_noise_are_kept(ends):
    a, b = (end / end.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1) for end in ends)
    lengths = slerp(a, b, SHARES).flatten(2).norm(dim=2)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))
    noise = torch.randn(2, 200, 1024, generator=seeded(3))
    variance = slerp(*noise, SHARES).var(dim=(1, 2))
    torch.testing.assert_close(variance, torch.ones(7), atol=0.02, rtol=0)
    middle = lerp(*noise, SHARES)[3].var()
    assert middle == pytest.approx(0.5, abs=0.01)


@pytest.mark.equation("slerp")
def test_ends_of_unequal_length_are_mixed_with_the_shares_of_their_directions(ends):
    """SciPy walks the arc between the directions; its points, written in the two directions, give the shares of a and b."""
    a, b = (end.flatten(1) * torch.tensor([[0.2], [1.0], [3.0], [1.0], [5.0]]) ** k for end, k in zip(ends, (1, -1)))
    for row, (first, second) in enumerate(zip(a.numpy(), b.numpy())):
        units = [end / np.linalg.norm(end) for end in (first, second)]
        shares = np.linalg.lstsq(np.stack(units, 1), geometric_slerp(*units, SHARES.numpy()).T, rcond=None)[0]
        mine = slerp(a, b, SHARES)[:, row]
        np.testing.assert_allclose(mine, shares.T @ np.stack([first, second]), rtol=1e-10, atol=1e-10)
    ratio = a.norm(dim=1) / b.norm(dim=1)
    assert ratio.max() > 10 * ratio.min()


@pytest.mark.equation("slerp")
@pytest.mark.parametrize("factor", [1.0, 2.0, -1.0, 0.0])
def test_vectors_along_one_line_are_joined_straight(factor):
    a = torch.tensor([[1.0, 2.0, 2.0]])
    steps = slerp(a, factor * a, SHARES)
    assert steps.isfinite().all()
    torch.testing.assert_close(steps, lerp(a, factor * a, SHARES), atol=1e-5, rtol=1e-5)


def test_the_type_is_kept_and_nearly_equal_ends_are_safe():
    a = torch.ones(3, 8, dtype=torch.float32)
    steps = slerp(a, a * (1 + 1e-7), torch.tensor([0.0, 0.5, 1.0]))
    assert steps.dtype == torch.float32
    torch.testing.assert_close(steps, a.expand(3, 3, 8))


@pytest.mark.parametrize("walk", [lerp, slerp])
def test_bad_ends_and_shares_are_named(walk):
    with pytest.raises(ValueError, match=r"b: expected the shape of a, \(2, 3\), got shape \(2, 4\)"):
        walk(torch.zeros(2, 3), torch.zeros(2, 4), SHARES)
    with pytest.raises(ValueError, match=r"shares: expected shape \(n,\), got shape \(\)"):
        walk(torch.zeros(2, 3), torch.zeros(2, 3), torch.tensor(0.5))
    assert math.isclose(float(walk(torch.zeros(1, 2), torch.ones(1, 2), SHARES)[-1].sum()), 2)
