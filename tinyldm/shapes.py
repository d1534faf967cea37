"""Floor 0. The only place that broadcasts a per-sample coefficient over an image."""

from torch import Tensor


def expand(c: Tensor, x: Tensor) -> Tensor:
    """Give the coefficient ``c`` the rank of ``x``, so that ``expand(c, x) * x`` is per sample.

    c: () for all samples at once, or (B,), one for each. x: (B, ...).
    A scalar is returned as it is, (B,) becomes (B, 1, ..., 1) in the type and place of ``x``.
    Raises ``ValueError`` when c is neither.
    """
    if c.ndim == 0:
        return c
    if c.shape != x.shape[:1]:
        raise ValueError(f"c: expected shape () or ({x.shape[0]},), one value a sample, got {tuple(c.shape)}")
    return c.reshape(-1, *(1,) * (x.ndim - 1)).to(x)
