"""The only place that broadcasts a per-sample coefficient over an image."""

import math

import torch
from torch import Tensor

Number = float | Tensor  # a coefficient: one for all samples (a float or ()), or (B,), one for each


def rows(x: Tensor) -> Tensor:
    """(B, ...) as (B, D), a row a sample; an empty batch too."""
    return x.reshape(len(x), math.prod(x.shape[1:]))


def expand(c: Number, x: Tensor) -> Number:
    """Give the coefficient ``c`` the rank of ``x``, so that ``expand(c, x) * x`` is per sample.

    c: a float or () for all samples at once, or (B,), one for each. x: (B, ...).
    A scalar is returned as it is, (B,) becomes (B, 1, ..., 1) in the type and place of ``x``.
    Raises ``ValueError`` when c is neither.
    """
    if isinstance(c, float) or c.ndim == 0:
        return c
    if c.shape != x.shape[:1]:
        raise ValueError(f"c: expected shape () or ({x.shape[0]},), one value a sample, got {tuple(c.shape)}")
    return c.reshape(-1, *(1,) * (x.ndim - 1)).to(x)


def mix(a: Number, x: Tensor, b: Number, y: Tensor) -> Tensor:
    """a x + b y, the coefficients per sample. x, y: (B, ...), alike; neither is changed.

    With floats the sum is one pass over y, and a term with the factor 0 is not touched at all. Raises what ``expand`` raises.
    """
    if isinstance(a, float) and isinstance(b, float):
        if a == 0:
            return y if b == 1 else y * b
        if b == 0:
            return x if a == 1 else x * a
        return torch.add(x * a, y, alpha=b)
    return expand(a, x) * x + expand(b, y) * y
