"""Digits of 16 x 16 pixels with latents of 4 x 4 x 4: the same questions as for points, small enough to ask many times."""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...data import InMemory, load
from ...errors import choose
from ...latent import LatentDiffusion
from ...metrics import Judge, frechet_distance, kid, precision_recall, psnr
from ...nn.condition import Condition
from ...path import VP
from ...runtime import device, normal, seeded
from ...space import LatentSpace
from ...train import Budget, fit
from ..digits import gaussian_baseline, latents_denoiser
from ..pictures import SMALL
from ..rivals import KINDS, codebook, codebook_loss
from ..training import reconstruct_loss
from .points import kl_columns

SIDE, DRAWS, CODES = 16, 1000, 256
STEPS = (300, 500)  # updates of the autoencoder and of the denoiser in the rows that come with the library


@cache
def _judge() -> Judge:
    train, test = load("digits", size=SIDE).tensors, load("digits", "test", size=SIDE).tensors
    return Judge(train["image"], train["label"], test["image"])


def plain_loss(module: Any, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
    """The plain autoencoder's loss for ``fit``: the means are decoded, the log-variances are not used."""
    return F.mse_loss(module.decode(module.encode(batch["image"]).mean), batch["image"])


def train_digits(kind: str, weight: float, seed: int, steps: int) -> Any:
    """An autoencoder of digits. kind: "ae", "vae" with this KL weight (mean/mean), or "vq", a quarter of it without codes."""
    choose("kind", kind, KINDS)
    data = load("digits", size=SIDE)
    coder = SMALL.seeded(seed).to(device())
    first = max(steps // 4, 1) if kind == "vq" else steps
    loss = reconstruct_loss(weight) if kind == "vae" else plain_loss
    fit(coder, loss, data, Budget(first, 32, 3e-3), generator=seeded(seed), progress=False)
    if kind != "vq":
        return coder
    module = codebook(coder, data.tensors["image"].to(device()), CODES, seed)
    budget = Budget(max(steps - first, 1), 32, 3e-3)
    fit(module, codebook_loss("image"), data, budget, generator=seeded(seed + 1), progress=False)
    return module


def sources(module: Any, seed: int, steps: int, stochastic: bool = True, draws: int = DRAWS) -> tuple[dict[str, Tensor], Tensor]:
    """(images by where their latents come from, the labels of those by diffusion); keys as for points.

    The latents that are learned have mean 0 and variance 1: *samples* of the posteriors, or if not ``stochastic`` their means.
    """
    train, test = load("digits", size=SIDE).tensors, load("digits", "test", size=SIDE).tensors["image"]
    plain = LatentSpace(module)
    raw = plain.encode(train["image"], seeded(200 + seed) if stochastic else None).cpu()
    space = LatentSpace(module, 1 / raw.std(correction=0).item(), raw.mean().item())
    z = (raw - space.shift) * space.scale
    known = InMemory({"latent": z, "label": train["label"]})
    denoiser, _ = latents_denoiser(VP(), "v", known, steps=steps, seed=seed, progress=False)
    c, h, w = z.shape[1:]
    model = LatentDiffusion(space, denoiser, (c, h, w))
    labels = torch.arange(draws) % 10
    images = {
        "encoded": plain.decode(plain.encode(test, seeded(300 + seed) if stochastic else None)),
        "prior": plain.decode(normal((draws, c, h, w), seeded(400 + seed), z)),
        "gaussian": space.decode(gaussian_baseline(z, draws, seeded(500 + seed))),
        "diffusion": model.sample(draws, Condition(labels), generator=seeded(600 + seed)),
    }
    return {name: x.cpu() for name, x in images.items()}, labels


def digits_row(kind: str, weight: float, seed: int, steps: tuple[int, int] = STEPS) -> dict:
    """One row: what the autoencoder loses and keeps, and for each source of latents four measures of what they decode to.

    "psnr" is of held-out digits from posterior means, "noisy" from samples. Precision and recall are against the training
    digits, Fréchet and kernel distance against the held-out ones, all in the judge's 20 principal components.
    """
    module = train_digits(kind, weight, seed, steps[0])
    judge, train = _judge(), load("digits", size=SIDE).tensors["image"]
    test = load("digits", "test", size=SIDE).tensors["image"]
    images, labels = sources(module, seed, steps[1], kind == "vae")
    with torch.no_grad():
        posterior = module.encode(train.to(device()))
        plain = LatentSpace(module)
        raw = plain.encode(train, seeded(800 + seed) if kind == "vae" else None)
    row: dict[str, Any] = {
        "kind": kind,
        "weight": weight,
        "seed": seed,
        "psnr": float(psnr(test, plain.decode(plain.encode(test)).cpu()).mean()),
        "noisy": float(psnr(test, images["encoded"]).mean()),
        "sigma": float(posterior.std.mean()) if kind == "vae" else 0.0,
        "std": float(raw.std()),
        "accuracy": judge.accuracy(images["diffusion"], labels),
        **(kl_columns(posterior, seeded(700 + seed)) if kind == "vae" else {}),
    }
    known, held_out = judge.features(train), judge.features(test)
    for name, x in images.items():
        features = judge.features(x)
        row[f"{name}_precision"], row[f"{name}_recall"] = precision_recall(known, features)
        row[f"{name}_frechet"] = frechet_distance(features, held_out)
        row[f"{name}_kid"] = kid(features, held_out)
    return row
