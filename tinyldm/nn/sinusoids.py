"""A number as a vector: cosines and sines at frequencies from fast to slow."""

import math

import torch
from torch import Tensor


def sinusoids(t: Tensor, dim: int, freq_shift: float = 0, cosine_first: bool = True) -> Tensor:
    """Cosines, then sines, of t at dim/2 frequencies 10000^(-2k/dim). (B,) -> (B, dim). Implements :eq:`sinusoids`.

    dim: even. freq_shift: spreads the frequencies as if there were this many fewer, so that 1 ends exactly at 1/10000,
    as in the code of DDPM; cosine_first: LDM's order, otherwise DDPM's, sines before cosines.
    Source: Vaswani et al., Attention Is All You Need (2017), section 3.5; cosine first, as in LDM's code.
    """
    half = dim // 2
    exponents = -math.log(10000) * torch.arange(half, dtype=t.dtype, device=t.device) / (half - freq_shift)
    angles = t[:, None] * torch.exp(exponents)
    waves = [angles.cos(), angles.sin()]
    return torch.cat(waves if cosine_first else waves[::-1], dim=1)
