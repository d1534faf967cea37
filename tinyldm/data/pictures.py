"""Picture files as tensors. The one place below the top floor that opens a picture; Pillow is loaded on the first call."""

import os
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def read(path: str | os.PathLike) -> Tensor:
    """A picture file as (3, H, W) float32 in [-1, 1].

    The camera's orientation is applied; grey is repeated to three channels; palettes are looked up; 16 bits a pixel span
    the same range as 8; transparent parts are laid on white. Raises ``ValueError`` naming a file that is no such picture.
    """
    import numpy as np
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened)
            if picture.mode == "F":
                raise ValueError("its pixels are floating-point numbers, whose range no one knows")
            if picture.mode.startswith("I"):  # 16 bits a pixel, or 32 that hold 16
                grey = torch.from_numpy(np.array(picture, dtype="float32")).clamp(0, 65535) / 32767.5 - 1
                return grey.expand(3, *grey.shape).contiguous()
            if "A" in picture.getbands() or "transparency" in picture.info:
                picture = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
            pixels = torch.from_numpy(np.array(picture.convert("RGB")))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{os.fspath(path)!r} is no picture that can be read ({error})") from error
    return pixels.permute(2, 0, 1).float() / 127.5 - 1


def resize(images: Tensor, size: Sequence[int]) -> Tensor:
    """(C, H, W) or (N, C, H, W) in [-1, 1] at another height and width: bicubic, antialiased, clamped to [-1, 1]."""
    if tuple(size) == tuple(images.shape[-2:]):
        return images
    batch = images if images.ndim == 4 else images[None]
    resized = F.interpolate(batch, size=tuple(size), mode="bicubic", antialias=True, align_corners=False).clamp(-1, 1)
    return resized if images.ndim == 4 else resized[0]
