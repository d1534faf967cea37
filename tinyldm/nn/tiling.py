"""Big images in tiles, without seams: the same numbers as in one piece, up to rounding, in less memory.

A convolution needs one pixel beyond its tile, so every tile is read with that rim. GroupNorm needs the statistics of the
whole image, so they are gathered first, tile by tile. Attention sees everything and is done whole: where it stands, the
grid is small. What saves the memory: a residual block keeps two images (its hidden one, and its result, which replaces
its input), and the up- and downsampled ones are never kept: they are made again where they are read, tile by tile.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import image_batch, whole_number
from ..gaussian import DiagonalGaussian
from .autoencoder import AutoencoderKL, Decoder
from .layers import Downsample, ResBlock, Upsample

__all__ = ["decode_tiled", "encode_tiled"]


class Box(NamedTuple):
    """Rows top to bottom and columns left to right of an image, the ends excluded."""

    top: int
    bottom: int
    left: int
    right: int

    def of(self, x: Tensor) -> Tensor:
        """The part of x (B, C, H, W) inside, a view."""
        return x[:, :, self.top : self.bottom, self.left : self.right]

    def within(self, outer: "Box") -> "Box":
        """The same box, counted from the corner of ``outer``."""
        return Box(self.top - outer.top, self.bottom - outer.top, self.left - outer.left, self.right - outer.left)


class Source(NamedTuple):
    """An image that can be read box by box: a tensor, or a function that makes the box when asked."""

    size: tuple[int, int]
    read: Callable[[Box], Tensor]
    tensor: Tensor | None = None

    def each(self, f: Callable[[Tensor], Tensor]) -> "Source":
        """The image with ``f`` of every box in its place."""
        return Source(self.size, lambda box: f(self.read(box)))


def stored(x: Tensor) -> Source:
    """A tensor (1, C, H, W) as a source."""
    return Source((x.shape[2], x.shape[3]), lambda box: box.of(x), x)


def boxes(size: tuple[int, int], tile: int) -> Iterator[Box]:
    """Tiles of at most ``tile`` by ``tile`` pixels that cover an image."""
    for top in range(0, size[0], tile):
        for left in range(0, size[1], tile):
            yield Box(top, min(top + tile, size[0]), left, min(left + tile, size[1]))


def clip(box: Box, size: tuple[int, int]) -> Box:
    """What of a box lies inside the image."""
    return Box(max(box.top, 0), min(box.bottom, size[0]), max(box.left, 0), min(box.right, size[1]))


def seen(box: Box, conv: nn.Conv2d) -> Box:
    """What a 3x3 convolution looks at to make a box of its output; it may reach beyond the image."""
    step, back = conv.stride[0], int(conv.padding[0])
    top, bottom, left, right = box
    return Box(step * top - back, step * (bottom - 1) - back + 3, step * left - back, step * (right - 1) - back + 3)


def convolve(patch: Tensor, inside: Box, box: Box, conv: nn.Conv2d) -> Tensor:
    """The box of ``conv``'s output. ``patch``: its input in the box ``inside``, beyond which, at the edge, are zeros."""
    (top, bottom, left, right), whole = inside, seen(box, conv)
    around = (left - whole.left, whole.right - right, top - whole.top, whole.bottom - bottom)
    return F.conv2d(F.pad(patch, around), conv.weight, conv.bias, conv.stride)


def filtered(source: Source, conv: nn.Conv2d) -> Source:
    """A 3x3 convolution of a source, made where it is read; one of stride 2 looks beyond the right and the bottom edge."""

    def read(box: Box) -> Tensor:
        inside = clip(seen(box, conv), source.size)
        return convolve(source.read(inside), inside, box, conv)

    height, width = source.size
    return Source((height // conv.stride[0], width // conv.stride[1]), read)


def doubled(source: Source) -> Source:
    """Every pixel 2x2 times, made where it is read."""

    def read(box: Box) -> Tensor:
        low = Box(box.top // 2, -(-box.bottom // 2), box.left // 2, -(-box.right // 2))
        twice = F.interpolate(source.read(low), scale_factor=2.0, mode="nearest")
        return box.within(Box(2 * low.top, 2 * low.bottom, 2 * low.left, 2 * low.right)).of(twice)

    return Source((2 * source.size[0], 2 * source.size[1]), read)


def normalised(source: Source, norm: nn.GroupNorm, tile: int) -> Callable[[Tensor], Tensor]:
    """GroupNorm and SiLU of any patch of ``source``, with the mean and variance of the whole of it."""
    total = square = torch.zeros(())
    count = 0
    for box in boxes(source.size, tile):
        groups = source.read(box).reshape(norm.num_groups, -1)
        var, mean = torch.var_mean(groups, dim=1, correction=0)
        var, mean, n = var.double(), mean.double(), groups.shape[1]
        total, square, count = total + n * mean, square + n * (var + mean**2), count + n
    mean = total / count
    rstd = (square / count - mean**2 + norm.eps).rsqrt()
    each = norm.num_channels // norm.num_groups
    scale = norm.weight * rstd.repeat_interleave(each)
    shift = norm.bias - mean.repeat_interleave(each) * scale
    scale, shift = (v.to(norm.weight)[:, None, None] for v in (scale, shift))
    return lambda patch: F.silu(patch * scale + shift)


def residual(source: Source, block: ResBlock, tile: int) -> Source:
    """A residual block: one pass for its hidden image, one that adds the second half to the skip connection."""
    cout, size = block.conv1.out_channels, source.size
    first = normalised(source, block.norm1, tile)
    hidden = block.conv1.weight.new_empty(1, cout, *size)
    kept = source.tensor if isinstance(block.skip, nn.Identity) else None
    out = torch.empty_like(hidden) if kept is None else kept
    for box in boxes(size, tile):
        inside = clip(seen(box, block.conv1), size)
        patch = source.read(inside)
        box.of(hidden).copy_(convolve(first(patch), inside, box, block.conv1))
        if kept is None:
            box.of(out).copy_(block.skip(box.within(inside).of(patch)))
    middle = stored(hidden)
    second = filtered(middle.each(normalised(middle, block.norm2, tile)), block.conv2)
    for box in boxes(size, tile):
        box.of(out).add_(second.read(box))
    return stored(out)


def through(levels: nn.Module, source: Source, tile: int) -> Source:
    """The levels of an encoder or a decoder, one layer after the other."""
    for layer in (layer for level in levels.children() for layer in level.children()):
        if isinstance(layer, ResBlock):
            source = residual(source, layer, tile)
        elif isinstance(layer, Upsample):
            source = filtered(doubled(source), layer.conv)
        elif isinstance(layer, Downsample):
            source = filtered(source, layer.conv)
        else:  # attention, which stands behind a residual block
            source = stored(layer(source.tensor))
    return source


def picture(last: Source, decoder: Decoder, tile: int) -> Tensor:
    """The decoder's last layer, to the image."""
    conv = decoder.conv_out
    source = filtered(last.each(normalised(last, decoder.norm, tile)), conv)
    out = conv.weight.new_empty(1, conv.out_channels, *last.size)
    for box in boxes(last.size, tile):
        box.of(out).copy_(source.read(box))
    return out


@torch.no_grad()
def encode_tiled(autoencoder: AutoencoderKL, x: Tensor, tile: int = 128) -> DiagonalGaussian:
    """``autoencoder.encode(x)`` layer by layer in tiles of ``tile`` pixels a side, one image at a time, without gradients.

    x: (B, in_channels, H, W) in [-1, 1]. Raises ``ValueError`` as ``encode`` does, and for ``tile`` < 1.
    """
    image_batch("x", x, autoencoder.config.in_channels, autoencoder.config.factor)
    tile = whole_number("tile", tile, 1)
    encoder, moments = autoencoder.encoder, []
    for image in x.split(1):
        last = through(encoder.levels, filtered(stored(image), encoder.conv_in), tile)
        moments.append(encoder.head(encoder.middle(last.tensor)))
    return autoencoder.posterior(torch.cat(moments))


@torch.no_grad()
def decode_tiled(autoencoder: AutoencoderKL, z: Tensor, tile: int = 128) -> Tensor:
    """``autoencoder.decode(z)`` layer by layer in tiles of ``tile`` pixels a side, one image at a time, without gradients.

    z: (B, latent_channels, h, w) -> (B, in_channels, H, W). Raises ``ValueError`` as ``decode`` does, and for ``tile`` < 1.
    """
    image_batch("z", z, autoencoder.config.latent_channels, 1)
    tile = whole_number("tile", tile, 1)
    decoder, images = autoencoder.decoder, []
    for latent in autoencoder.post_quant(z).split(1):
        last = through(decoder.levels, stored(decoder.middle(decoder.conv_in(latent))), tile)
        images.append(picture(last, decoder, tile))
    return torch.cat(images)
