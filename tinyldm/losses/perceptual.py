"""A distance between pictures that compares what a network sees, not pixel by pixel."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..errors import expect
from ..nn.features import unit
from .autoencoding import alike

Features = Callable[[Tensor], list[Tensor]]  # pictures -> feature maps (B, C_l, H_l, W_l), a layer each


def perceptual_distance(features: Features, x: Tensor, y: Tensor, weights: Sequence[Tensor] | None = None) -> Tensor:
    """Squared differences of unit feature vectors, a mean over space, summed over layers, (B,). Implements :eq:`perceptual`.

    features: x -> list of maps (B, C_l, H_l, W_l), such as ``FeatureNet.features`` or a ``VGG16Features``. x, y:
    (B, C, H, W), alike. weights: for each layer (C_l,), numbers >= 0 that multiply the *squared* differences (LPIPS's
    learned ones: the paper's w^2); None for 1, which makes a layer's part the mean of 2 - 2 cos(angle).
    It is 0 for x = y, but not only there, and no metric: it is a square.
    Raises ``ValueError`` for shapes that differ, weights that do not fit the layers, or an x that is not finite.
    Source: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric (2018), equation 1.
    """
    expect(y.shape == x.shape, "y", f"shape {tuple(y.shape)}", f"the shape of x, {tuple(x.shape)}")
    alike(x, y)
    pairs = list(zip(features(x), features(y), strict=True))
    if weights is None:
        weights = [f.new_ones(f.shape[1]) for f, _ in pairs]
    given, wanted = [tuple(w.shape) for w in weights], [(f.shape[1],) for f, _ in pairs]
    expect(given == wanted, "weights", f"shapes {given}", f"one weight a channel, {wanted}")
    channels = [((unit(f) - unit(g)) ** 2).mean((2, 3)) for f, g in pairs]  # (B, C_l) for each layer
    return torch.stack([c @ w for c, w in zip(channels, weights)]).sum(0)
