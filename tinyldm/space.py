"""Between images and the latents that a denoiser sees: an autoencoder, then scale and shift, then packing."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import expect, in_range, whole_number
from .files import current, read_json
from .nn import AutoencoderKL
from .nn.weights import described, from_pretrained

CHUNK = 256  # images that go through a network at once
UNSAID = 0.18215  # the scale of an autoencoder in diffusers whose folder does not state one: Stable Diffusion 1's


def in_chunks(x: Tensor) -> Iterator[Tensor]:
    """x (N, ...) in pieces that fit in memory."""
    return iter(x.split(CHUNK))


@dataclass(frozen=True, eq=False)
class LatentSpace:
    """An autoencoder and an affine map of its latents, z = (z_raw - shift) * scale; ``measured`` makes their variance 1.

    scale, shift: one number, or one for each channel, (c,). pack: side p of the squares of latent pixels that become
    channels, (N, c, h, w) -> (N, c*p*p, h/p, w/p), in the order of ``pack``, but left on the grid; 1 for none.
    Raises ``ValueError`` for numbers that are not finite, a scale of 0, other shapes, or pack < 1.
    Source: Rombach et al. (2022), appendix G, for the scale; Stable Diffusion 3's released code has a shift too.
    """

    autoencoder: AutoencoderKL
    scale: float | Tensor = 1.0
    shift: float | Tensor = 0.0
    pack: int = 1

    def __post_init__(self) -> None:
        for name in ("scale", "shift"):
            given = getattr(self, name)
            value = torch.as_tensor(given, dtype=torch.float32).detach()
            expect(value.ndim <= 1, name, f"shape {tuple(value.shape)}", "one number, or one a channel, (c,)")
            expect(bool(value.isfinite().all()), name, given, "finite numbers")
            object.__setattr__(self, name, float(given) if value.ndim == 0 else value)
        expect(bool((torch.as_tensor(self.scale) != 0).all()), "scale", self.scale, "no number that is 0")
        object.__setattr__(self, "pack", whole_number("pack", self.pack, 1))

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike) -> "LatentSpace":
        """An autoencoder's folder, diffusers' or from ``save_pretrained``, with the scale and the shift that it states.

        Raises what ``nn.weights.from_pretrained`` raises.
        """
        facts = read_json(current(folder, "config.json"))
        autoencoder: Any = from_pretrained(folder)
        return cls(autoencoder, facts.get("scaling_factor", UNSAID), facts.get("shift_factor") or 0.0)

    @classmethod
    def measured(
        cls, autoencoder: AutoencoderKL, images: Tensor, per_channel: bool = False, centre: bool = True
    ) -> "LatentSpace":
        """Measure shift (mean) and scale (1 / standard deviation) on images (N, C, H, W). Implements :eq:`latent-scale`.

        images: the whole set, or its first batch, as LDM's training code does. per_channel: a pair for each channel.
        centre: False leaves the shift at 0, as in Stable Diffusion 1 and 2. Raises ``ValueError`` for latents that do not vary,
        and what ``encode`` raises. Source: Rombach et al. (2022), appendix G, without the shift.
        """
        raw = cls(autoencoder).encode(images)
        across = raw.transpose(0, 1).flatten(1) if per_channel else raw.flatten()[None]  # (c, rest) or (1, rest)
        std, mean = across.std(dim=1, correction=0), across.mean(dim=1)
        expect(bool((std > 0).all()), "images", f"latents of standard deviation {std.tolist()}", "latents that vary")
        if per_channel:
            return cls(autoencoder, 1 / std, mean if centre else 0.0)
        return cls(autoencoder, 1 / std.item(), mean.item() if centre else 0.0)

    @torch.no_grad()
    def encode(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Images (N, C, H, W) in [-1, 1] -> latents (N, c, h, w): the posterior's mean, or with a generator a sample of it.

        Raises ``ValueError`` for values outside [-1, 1], other channels or a side that cannot be halved often enough.
        """
        in_range("x", x, -1.0 - 1e-4, 1.0 + 1e-4)
        weight = next(self.autoencoder.parameters(), x)
        posteriors = [self.autoencoder.encode(part.to(weight)) for part in in_chunks(x)]
        raw = torch.cat([q.mode() if generator is None else q.sample(generator) for q in posteriors])
        expect(
            all(side % self.pack == 0 for side in raw.shape[2:]),
            "x",
            f"latents of {raw.shape[2]}x{raw.shape[3]}",
            f"sides divisible by pack={self.pack}",
        )
        return F.pixel_unshuffle((raw - self._on(self.shift, raw)) * self._on(self.scale, raw), self.pack)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Latents (N, c, h, w) -> images (N, C, H, W), clamped to [-1, 1].

        Raises ``ValueError`` for another rank, and for channels that do not fit the packing, the scale or the autoencoder.
        """
        expect(z.ndim == 4, "z", f"shape {tuple(z.shape)}", "four dimensions (N, c, h, w)")
        squares = self.pack**2
        expect(z.shape[1] % squares == 0, "z", f"{z.shape[1]} channels", f"a multiple of pack^2 = {squares}")
        z = F.pixel_shuffle(z.to(next(self.autoencoder.parameters(), z)), self.pack)
        raw = z / self._on(self.scale, z) + self._on(self.shift, z)
        return torch.cat([self.autoencoder.decode(part) for part in in_chunks(raw)]).clamp(-1, 1)

    @staticmethod
    def _on(value: float | Tensor, z: Tensor) -> float | Tensor:
        """The number, or the numbers of the channels as (c, 1, 1), to go with latents z (N, c, h, w)."""
        if isinstance(value, float):
            return value
        expect(len(value) == z.shape[1], "scale, shift", f"{len(value)} channels", f"{z.shape[1]}, those of the latents")
        return value.to(z)[:, None, None]

    def __repr__(self) -> str:
        numbers = ", ".join(f"{name}={value}" for name, value in self.numbers().items())
        return f"LatentSpace({described(self.autoencoder)}, {numbers})"

    def numbers(self) -> dict[str, float | list[float] | int]:
        """Scale, shift and packing as JSON values."""
        plain = {name: v if isinstance(v := getattr(self, name), float) else v.tolist() for name in ("scale", "shift")}
        return {**plain, "pack": self.pack}
