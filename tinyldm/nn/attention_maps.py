"""What a picture looks at: the weights of cross-attention, recorded while a network runs, and as one map a word."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import expect, whole_number
from .attention import Attention, TransformerBlock, split

Record = dict[str, list[Tensor]]  # by the name of a layer: (B, heads, N, M) for each time it was called


def attention_weights(q: Tensor, k: Tensor, mask: Tensor | None = None) -> Tensor:
    """With which weights ``attend`` averages the values: for every query a distribution over the keys.

    q: (B, N, heads, D); k: (B, M, heads, D) -> (B, heads, N, M). mask: (B, M), false where a key has weight 0.
    Source: Vaswani et al., Attention Is All You Need (2017), section 3.2.1.
    """
    scores = torch.einsum("bnhd,bmhd->bhnm", q, k) / math.sqrt(q.shape[3])
    return (scores if mask is None else scores.masked_fill(~mask[:, None, None], -torch.inf)).softmax(3)


@contextmanager
def attention_maps(net: nn.Module) -> Iterator[Record]:
    """Inside ``with attention_maps(unet) as record:`` every call of ``unet`` adds to ``record`` what its layers look at.

    -> a list for each layer that looks at the tokens, by its name in ``net``: (B, heads, N, M) a call, N pixels, M tokens,
    without gradient. Outputs stay what they are. A record of many steps is large: pick a few, or average as you go.
    Raises ``ValueError`` for a network without such layers.
    """
    layers = {name: layer for name, block in net.named_modules() for name, layer in _looking(name, block)}
    expect(len(layers) > 0, "net", f"{type(net).__name__} without any", "a network with transformer blocks that look at tokens")
    record: Record = {name: [] for name in layers}
    with ExitStack() as hooks:
        for name, layer in layers.items():
            hooks.callback(layer.register_forward_hook(partial(_see, record[name])).remove)
        yield record


def _looking(name: str, block: nn.Module) -> Iterator[tuple[str, Attention]]:
    """The layers of a block that look at tokens; with ``cross_only`` the first attention is one of them."""
    if isinstance(block, TransformerBlock):
        for kind in ("self_attention", "cross_attention") if block.cross_only else ("cross_attention",):
            yield f"{name}.{kind}".lstrip("."), getattr(block, kind)


@torch.no_grad()
def _see(seen: list[Tensor], layer: Attention, given: tuple[Any, ...], _: Tensor) -> None:
    """A hook: the weights from the same queries and keys that the layer made."""
    x, context, mask = (*given, None)[:3]
    seen.append(attention_weights(split(layer.q(x), layer.heads), split(layer.k(context), layer.heads), mask))


def word_maps(record: Mapping[str, Sequence[Tensor]], size: tuple[int, int]) -> Tensor:
    """One map a token: the mean over calls, layers and heads, each stretched to ``size`` = (H, W) -> (B, L, H, W).

    Over the tokens the maps sum to one, so 1/L is a token's share where nothing is preferred. Raises ``ValueError`` for an
    empty record, for weights of differing batches or tokens, and for a size of other proportions than the picture.
    Source: Tang et al., What the DAAM (2023), section 3, which stretches by cubics and takes the sum.
    """
    calls = [weights for calls in record.values() for weights in calls]
    expect(len(calls) > 0, "record", "no weights", "those of at least one call of the network")
    for side in size:
        whole_number("size", side, 1)
    shapes = {(len(weights), weights.shape[3]) for weights in calls}
    expect(len(shapes) == 1, "record", f"(B, L) = {sorted(shapes)}", "the same samples and tokens in every call")
    return torch.stack([_stretched(weights.mean(1), size) for weights in calls]).mean(0)


def _stretched(weights: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, N, L) of the N pixels of a level -> (B, L, H, W), linear between pixels."""
    pixels, (height, width) = weights.shape[1], size
    rows = round(math.sqrt(pixels * height / width))
    fits = rows > 0 and pixels % rows == 0 and rows * width == pixels // rows * height
    expect(fits, "size", size, f"the proportions of the picture, a level of which has {pixels} pixels")
    return F.interpolate(weights.mT.unflatten(2, (rows, -1)), size, mode="bilinear", align_corners=False)
