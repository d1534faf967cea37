"""Picture files as tensors. The one place below the top floor that opens a picture; Pillow is loaded on the first call."""

import os
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

FORMATS = {  # what is opened, whatever a file is called, and how such files are called; nothing that is a program, as EPS is
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm"),
}
ORIENTATION = 0x0112  # the camera's note of how it was held, and what sets the picture upright
TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
FINE = 4  # a square is averaged over whole pixels down to no less than this many times the side wanted


def read(path: str | os.PathLike, square: int | None = None) -> Tensor:
    """A picture file as (3, H, W) float32 in [-1, 1].

    The camera's orientation is applied; grey is repeated to three channels; palettes are looked up; 16 bits a pixel span
    the same range as 8; transparent parts are laid on white. square: of a picture that may be large, the middle square alone,
    averaged over blocks of pixels to at least 4 times this side; its memory is never that of the whole as floats.
    Raises ``ValueError`` naming a file that is no such picture, or has more pixels than Pillow holds safe (179 million).
    """
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path, formats=list(FORMATS)) as opened:
            if square is not None:
                opened.draft(None, (FINE * square, FINE * square))  # a JPEG can be decoded at a fraction of its size
            picture = _upright(opened)
            if square is not None:
                picture = _middle(picture, square)
            if picture.mode == "F":
                raise ValueError("its pixels are floating-point numbers, whose range no one knows")
            if picture.mode.startswith("I"):  # 16 bits a pixel, or 32 that hold 16
                grey = torch.from_numpy(np.array(picture, dtype="float32")).clamp(0, 65535) / 32767.5 - 1
                return grey.expand(3, *grey.shape).contiguous()
            pixels = torch.from_numpy(np.array(_on_white(picture).convert("RGB")))
    except Exception as error:  # a damaged file can make Pillow raise anything
        raise ValueError(f"{os.fspath(path)!r} is no picture that can be read ({error})") from error
    return pixels.permute(2, 0, 1).float() / 127.5 - 1


def _upright(picture: Any) -> Any:
    """The picture as the camera was held; as it lies in the file where that note is malformed."""
    from PIL import Image

    try:
        turn = TURNS.get(picture.getexif().get(ORIENTATION))
    except Exception:  # a malformed note says nothing about the pixels
        turn = None
    return picture.transpose(Image.Transpose[turn]) if turn else picture


def _middle(picture: Any, side: int) -> Any:
    """The middle square, in whole steps made smaller while it is ``FINE`` times ``side`` or more."""
    width, height = picture.size
    least = min(width, height)
    left, top = (width - least) // 2, (height - least) // 2
    picture = picture.crop((left, top, left + least, top + least))
    if least < 2 * FINE * side:
        return picture
    if picture.mode.startswith("I"):
        picture = picture.convert("I")
    elif picture.mode != "F":
        picture = _on_white(picture).convert("RGB")
    return picture.reduce(least // (FINE * side))


def _on_white(picture: Any) -> Any:
    from PIL import Image

    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return picture
    picture = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)


def resize(images: Tensor, size: Sequence[int]) -> Tensor:
    """(C, H, W) or (N, C, H, W) in [-1, 1] at another height and width: bicubic, antialiased, clamped to [-1, 1]."""
    if tuple(size) == tuple(images.shape[-2:]):
        return images
    batch = images if images.ndim == 4 else images[None]
    resized = F.interpolate(batch, size=tuple(size), mode="bicubic", antialias=True, align_corners=False).clamp(-1, 1)
    return resized if images.ndim == 4 else resized[0]
