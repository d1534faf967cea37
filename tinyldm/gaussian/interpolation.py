"""From one latent to another: straight through the ball, or along its surface."""

import torch
from torch import Tensor

from ..broadcast import rows
from ..errors import expect


def lerp(a: Tensor, b: Tensor, shares: Tensor) -> Tensor:
    """The straight line from a to b, (n, B, ...). a, b: (B, ...), alike; shares: (n,), 0 at a and 1 at b.

    Raises ``ValueError`` for shapes that differ or shares that are no vector.
    """
    u = _shares(a, b, shares)
    return (1 - u) * a + u * b


def slerp(a: Tensor, b: Tensor, shares: Tensor) -> Tensor:
    """The great circle from a to b, (n, B, ...), at a constant angular speed. Implements :eq:`slerp`.

    a, b: (B, ...), alike, one pair a row and each row one vector; shares: (n,), 0 at a and 1 at b. Vectors of one length
    keep it; vectors along one line, where no circle is singled out, are joined by ``lerp``.
    Raises ``ValueError`` for shapes that differ or shares that are no vector.
    Source: Shoemake, Animating Rotation with Quaternion Curves (1985), section 3.3.
    """
    u = _shares(a, b, shares)
    flat_a, flat_b = rows(a).double(), rows(b).double()
    lengths = flat_a.norm(dim=1) * flat_b.norm(dim=1)
    cosine = torch.where(lengths > 0, (flat_a * flat_b).sum(1) / lengths, 1.0).clamp(-1, 1)
    angle = torch.acos(cosine).reshape(-1, *(1,) * (a.ndim - 1))
    sine = angle.sin()
    circle = sine.abs() > 1e-6
    safe = torch.where(circle, sine, torch.ones_like(sine))
    u = u.double()
    first = torch.where(circle, ((1 - u) * angle).sin() / safe, 1 - u)
    second = torch.where(circle, (u * angle).sin() / safe, u)
    return first.to(a) * a + second.to(a) * b


def _shares(a: Tensor, b: Tensor, shares: Tensor) -> Tensor:
    expect(a.shape == b.shape, "b", f"shape {tuple(b.shape)}", f"the shape of a, {tuple(a.shape)}")
    expect(shares.ndim == 1, "shares", f"shape {tuple(shares.shape)}", "shape (n,)")
    return shares.to(a).reshape(-1, *(1,) * a.ndim)
