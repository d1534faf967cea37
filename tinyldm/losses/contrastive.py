"""Learning which text belongs to which picture: each must find its own among all others of the batch."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import expect


def contrastive_loss(a: Tensor, b: Tensor, scale: Tensor | float) -> Tensor:
    """The cross-entropy of finding b's row for a's, and a's for b's, averaged: (B,). Implements :eq:`contrastive`.

    a, b: (B, D), unit vectors that belong together row by row. scale: one over the temperature.
    Raises ``ValueError`` for other shapes, or a single pair, which has nothing to be told from.
    Source: van den Oord et al., Contrastive Predictive Coding (2018), equation 4; Radford et al. (2021), figure 3.
    """
    expect(a.ndim == 2 and a.shape == b.shape, "b", f"shape {tuple(b.shape)}", f"two dimensions (B, D), as a: {tuple(a.shape)}")
    expect(len(a) > 1, "a", "one pair", "at least two, to be told apart")
    logits, own = scale * a @ b.T, torch.arange(len(a), device=a.device)
    return (F.cross_entropy(logits, own, reduction="none") + F.cross_entropy(logits.T, own, reduction="none")) / 2
