"""What a transformer is told as one vector: the time, and what there is of a label, a description and a guidance scale."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..condition import Condition
from ..errors import in_range
from ..sinusoids import sinusoids
from .layers import Perceptron

WAVES = 256  # sinusoids of a time, whatever the network's width


class Clock(nn.Module):
    """The sum of what time, guidance, vector and label each say, through SiLU: what every modulation starts from.

    (sinusoids of the time and, or None, of the guidance, (B, 256), cond) -> (B, width).
    vector, classes: 0 for a network without.
    Source: Peebles and Xie (2023), section 3.2 (label); Esser et al. (2024), section 4 (vector); FLUX.1's code (guidance).
    """

    def __init__(self, width: int, vector: int = 0, classes: int = 0, guidance: bool = False) -> None:
        super().__init__()
        self.classes = classes
        self.time = Perceptron(WAVES, width)
        self.guidance = Perceptron(WAVES, width) if guidance else None
        self.vector = Perceptron(vector, width) if vector else None
        self.label = nn.Embedding(classes + 1, width) if classes else None  # the last row is "no label"

    def forward(self, time: Tensor, guidance: Tensor | None, cond: Condition) -> Tensor:
        """Raises ``ValueError`` for a label out of range."""
        emb = self.time(time)
        if self.guidance is not None and guidance is not None:
            emb = emb + self.guidance(guidance)
        if self.vector is not None and cond.vector is not None:
            emb = emb + self.vector(cond.vector.to(time))
        if self.label is not None:
            label = cond.label
            if label is None:
                label = torch.full((len(time),), self.classes, device=time.device)
            in_range("cond.label", label, 0, self.classes)
            emb = emb + self.label(label)
        return F.silu(emb)


def waves(t: Tensor, factor: int, freq_shift: int, like: Tensor) -> Tensor:
    """Sinusoids of factor * t, (B,) -> (B, 256), in the type of ``like``; computed in single precision at least."""
    return sinusoids(t * factor, WAVES, freq_shift).to(like.dtype)
