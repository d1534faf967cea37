"""FLUX's packing: squares of latent pixels become the channels of one token, and back; nothing is lost."""

from torch import Tensor

from ..errors import expect, whole_number


def pack(z: Tensor, p: int = 2) -> Tensor:
    """Latents (B, C, H, W) -> tokens (B, H/p * W/p, C * p * p), p x p pixels a token. Implements :eq:`pack`.

    Inside a token the channel comes first, then the row, then the column; the tokens run along the rows of the picture.
    Raises ``ValueError`` for another rank or sides that p does not divide.
    Source: the sampling code of FLUX.1 (Black Forest Labs, 2024).
    """
    expect(z.ndim == 4, "z", f"shape {tuple(z.shape)}", "four dimensions (B, C, H, W)")
    batch, channels, height, width = z.shape
    _check(height, width, p)
    squares = z.reshape(batch, channels, height // p, p, width // p, p)  # (B, C, rows, p, columns, p)
    return squares.permute(0, 2, 4, 1, 3, 5).reshape(batch, (height // p) * (width // p), channels * p * p)


def unpack(tokens: Tensor, height: int, width: int, p: int = 2) -> Tensor:
    """Tokens (B, H/p * W/p, C * p * p) -> latents (B, C, height, width): the inverse of ``pack``.

    Raises ``ValueError`` for another rank, sides that p does not divide, or numbers of tokens or channels that do not fit.
    """
    expect(tokens.ndim == 3, "tokens", f"shape {tuple(tokens.shape)}", "three dimensions (B, tokens, channels)")
    _check(height, width, p)
    batch, count, channels = tokens.shape
    rows, columns = height // p, width // p
    expect(count == rows * columns, "tokens", f"{count} of them", f"{rows * columns}, one for each {p}x{p} square")
    expect(channels % (p * p) == 0, "tokens", f"{channels} channels", f"a multiple of {p * p}")
    squares = tokens.reshape(batch, rows, columns, channels // (p * p), p, p)
    return squares.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels // (p * p), height, width)


def _check(height: int, width: int, p: int) -> None:
    whole_number("p", p, 1)
    fits = height > 0 and width > 0 and height % p == 0 and width % p == 0
    expect(fits, "height, width", f"{height}x{width}", f"sides divisible by p={p}")
