"""What a feature network learns from without labels: which photograph, turned how far, damaged how."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import expect
from ..runtime import normal

Damage = Callable[[Tensor, Tensor, torch.Generator], Tensor]  # (x, strength (B, 1, 1, 1) in [0, 1], chance) -> like x


def _blurred(x: Tensor, s: Tensor, generator: torch.Generator) -> Tensor:
    return torch.lerp(x, F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1), 0.4 + 0.6 * s)


def _noisy(x: Tensor, s: Tensor, generator: torch.Generator) -> Tensor:
    return x + (0.03 + 0.17 * s) * normal(x.shape, generator, x)


def _coarse(x: Tensor, s: Tensor, generator: torch.Generator) -> Tensor:
    return torch.lerp(x, F.interpolate(F.avg_pool2d(x, 2), scale_factor=2.0), 0.4 + 0.6 * s)


def _few_tones(x: Tensor, s: Tensor, generator: torch.Generator) -> Tensor:
    steps = (12 - 10 * s).round()
    return (x * steps).round() / steps


DAMAGES: dict[str, Damage] = {
    "none": lambda x, s, generator: x,
    "blurred": _blurred,
    "noisy": _noisy,
    "coarse": _coarse,
    "few tones": _few_tones,
}


def damaged(x: Tensor, kind: Tensor, generator: torch.Generator) -> Tensor:
    """Each picture with its kind of damage, of random strength. x: (B, C, H, W) in [-1, 1], even sides. kind: (B,) long."""
    strength = torch.rand(len(x), 1, 1, 1, generator=generator).to(x)
    versions = torch.stack([damage(x, strength, generator) for damage in DAMAGES.values()])
    return versions[kind, torch.arange(len(x), device=x.device)].clamp(-1, 1)


def turned(x: Tensor, quarters: Tensor) -> Tensor:
    """Each square picture turned by so many quarters, (B, C, S, S). quarters: (B,) long, 0 to 3."""
    versions = torch.stack([torch.rot90(x, k, (2, 3)) for k in range(4)])
    return versions[quarters, torch.arange(len(x), device=x.device)]


def recoloured(x: Tensor, generator: torch.Generator) -> Tensor:
    """Each colour plane with another contrast and brightness: a change that should matter little, so no question asks for it."""
    gain, offset = torch.rand(2, len(x), x.shape[1], 1, 1, generator=generator).to(x)
    return (x * (0.7 + 0.6 * gain) + 0.4 * offset - 0.2).clamp(-1, 1)


def pretext_loss(net: nn.Module, x: Tensor, photograph: Tensor, generator: torch.Generator) -> Tensor:
    """Cross-entropy of a ``FeatureNet``'s three answers about recoloured, turned and damaged crops, in nats, (B,).

    x: (B, C, S, S) in [-1, 1]. photograph: (B,) long, from which each crop comes. Guessing costs the sum of the logs of
    the numbers of answers. Features that must answer, whatever the colours, see texture, structure and damage; on textures
    the turns are hard, and in a short training they only vary the crops.
    Raises ``ValueError`` for pictures that are not square.
    Source: Gidaris et al., Unsupervised Representation Learning by Predicting Image Rotations (2018), for the turns; that
    features of many tasks make good distances, Zhang et al. (2018), section 4.
    """
    expect(x.ndim == 4 and x.shape[2] == x.shape[3], "x", f"shape {tuple(x.shape)}", "square pictures (B, C, S, S)")
    quarters, kind = (torch.randint(n, (len(x),), generator=generator).to(x.device) for n in (4, len(DAMAGES)))
    answers = net(damaged(turned(recoloured(x, generator), quarters), kind, generator))
    return torch.stack([F.cross_entropy(a, t, reduction="none") for a, t in zip(answers, (photograph, quarters, kind))]).sum(0)
