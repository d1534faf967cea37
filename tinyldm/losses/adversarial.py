"""The game between decoder and discriminator: hinge losses, and how much the decoder should care."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import expect


def hinge_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """What the discriminator minimises, (): logits above 1 on data and below -1 on fakes cost nothing. Implements :eq:`hinge`.

    real_logits, fake_logits: of any shape, such as the map (B, 1, h, w) of a ``PatchDiscriminator``; no sigmoid before.
    Averaged with 1/2, as in LDM: indifferent logits 0 cost 1. The best discriminator's loss is 1 - TV(data, fakes).
    Source: Lim and Ye, Geometric GAN (2017); LDM's code, ``hinge_d_loss``.
    """
    return (F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()) / 2


def hinge_generator(fake_logits: Tensor) -> Tensor:
    """What the decoder minimises, (): minus the mean logit of its pictures, any shape. Implements :eq:`hinge`.

    Source: Lim and Ye (2017); LDM's code, ``contperceptual.py``.
    """
    return -fake_logits.mean()


def adaptive_weight(reconstruction_loss: Tensor, generator_loss: Tensor, last_weight: Tensor, maximum: float = 1e4) -> Tensor:
    """|grad reconstruction| / (|grad generator| + 1e-4) in [0, maximum], (), detached. Implements :eq:`adaptive-weight`.

    With it the two losses pull equally hard at ``last_weight``, the weight of the decoder's last layer (any shape). Both
    losses are (), and their graph is kept for the step that follows. LDM multiplies the result by 0.5.
    Raises ``ValueError`` for losses that are no single number or in which the weight takes no part.
    Source: Esser et al., Taming Transformers (2021), equation 7; LDM's code, ``calculate_adaptive_weight``.
    """
    norms = []
    for name, loss in (("reconstruction_loss", reconstruction_loss), ("generator_loss", generator_loss)):
        expect(loss.ndim == 0, name, f"shape {tuple(loss.shape)}", "a single number, such as the mean over the batch")
        known = last_weight.requires_grad and loss.requires_grad
        gradient = torch.autograd.grad(loss, last_weight, retain_graph=True, allow_unused=True)[0] if known else None
        if gradient is None:
            raise ValueError(f"last_weight: expected a weight that {name} depends on, got one without a gradient")
        norms.append(torch.linalg.vector_norm(gradient))
    return (norms[0] / (norms[1] + 1e-4)).clamp(0, maximum).detach()
