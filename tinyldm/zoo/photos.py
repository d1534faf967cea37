"""How the autoencoders of photographs and the feature network were made; ``make`` calls it."""

import time
from dataclasses import asdict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..compression import FEATURES, ROUNDS, SHIPPED, Objective, photos_config, train_autoencoder, train_features
from ..data import load
from ..files import read_json
from ..losses.questions import DAMAGES, damaged, turned
from ..metrics import psnr, ssim
from ..nn import AutoencoderKL, FeatureNet
from ..nn.weights import from_pretrained, save_pretrained
from ..runtime import seeded
from ..space import LatentSpace
from . import HERE

OBJECTIVE = Objective("l2", kl_weight=1e-6)
SEED = 0


def patch_components(train: Tensor, test: Tensor, numbers: int, side: int = 4) -> Tensor:
    """``test`` rebuilt from this many principal components of its side x side patches: the linear rival, (N, C, H, W)."""

    def patches(x: Tensor) -> Tensor:
        return F.unfold(x, side, stride=side).transpose(1, 2).flatten(0, 1)  # (N * squares, C * side * side)

    mean = patches(train).mean(0)
    directions = torch.linalg.eigh(torch.cov((patches(train) - mean).T))[1][:, -numbers:]
    rebuilt = (patches(test) - mean) @ directions @ directions.T + mean
    squares = rebuilt.unflatten(0, (len(test), -1)).transpose(1, 2)
    return F.fold(squares, test.shape[2:], side, stride=side)


def make_photos(channels: int) -> dict[str, Any]:
    """Train the autoencoder with this many latent channels; a round starts from what the round before it stored."""
    name, config = f"photos-c{channels}", photos_config(channels)
    module: Any = None
    seconds = 0.0
    for k, recipe in enumerate(SHIPPED[: ROUNDS[channels]]):
        data = load("photos", size=recipe.size, n=recipe.crops, seed=SEED)
        start = time.perf_counter()
        module, _ = train_autoencoder(config, OBJECTIVE, data, recipe.budget, seed=SEED + k, start_from=module)
        seconds += time.perf_counter() - start
        module = stored(module, name, data.tensors["image"][:1000])
    return photos_card(channels, module, seconds)


def stored(module: AutoencoderKL, name: str, images: Tensor) -> Any:
    """Store an autoencoder in half precision, with its latents' scale and shift on these images; read it back."""
    raw = LatentSpace.measured(module, images)
    save_pretrained(module, HERE / name, torch.float16, scaling_factor=raw.scale, shift_factor=raw.shift)
    return from_pretrained(HERE / name)


def photos_card(channels: int, module: AutoencoderKL, seconds: float) -> dict[str, Any]:
    """What there is to say of a stored autoencoder, each measure beside that of the linear rival with as many numbers."""
    config = read_json(HERE / f"photos-c{channels}" / "config.json")
    test = load("photos", "test", n=256, seed=SEED).tensors["image"]
    rebuilt = LatentSpace(module).decode(LatentSpace(module).encode(test))
    linear = patch_components(load("photos", n=1000, seed=SEED).tensors["image"], test, channels).clamp(-1, 1)
    return {
        "summary": f"photographs, any size, latents {channels} x H/4 x W/4",
        "data": f"photos: {SHIPPED[0].crops} crops of {SHIPPED[0].size}x{SHIPPED[0].size} pixels from 15 photographs",
        "scale": "cpu",
        "seed": SEED,
        "threads": torch.get_num_threads(),
        "objective": asdict(OBJECTIVE),
        "budgets": {f"round {k + 1}": asdict(recipe.budget) for k, recipe in enumerate(SHIPPED[: ROUNDS[channels]])},
        "latent": {"scale": config["scaling_factor"], "shift": config["shift_factor"]},
        "measures": {
            "training_seconds": seconds,
            "psnr": psnr(test, rebuilt).mean().item(),
            "psnr_linear": psnr(test, linear).mean().item(),
            "ssim": ssim(test, rebuilt).mean().item(),
            "ssim_linear": ssim(test, linear).mean().item(),
        },
    }


def answered(net: FeatureNet, images: Tensor, generator: torch.Generator) -> dict[str, float]:
    """The share of a feature network's right answers on photographs it has not seen: turned how far, damaged how."""
    quarters, kind = (torch.randint(n, (len(images),), generator=generator) for n in (4, len(DAMAGES)))
    with torch.no_grad():
        _, turns, damages = net(damaged(turned(images, quarters), kind, generator))
    rights = {"turned": turns.argmax(1) == quarters, "damaged": damages.argmax(1) == kind}
    return {f"{name}_accuracy": right.float().mean().item() for name, right in rights.items()}


def make_features() -> dict[str, Any]:
    """Train the feature network of the perceptual distance, ship it in half precision, measure what is shipped."""
    data = load("photos", size=FEATURES.size, n=FEATURES.crops, seed=SEED)
    start = time.perf_counter()
    net = train_features(data, FEATURES.budget, seed=SEED)
    seconds = time.perf_counter() - start
    save_pretrained(net, HERE / "features", torch.float16)
    shipped: Any = from_pretrained(HERE / "features")
    test = load("photos", "test", size=FEATURES.size, n=512, seed=SEED).tensors["image"]
    return {
        "summary": "features for a perceptual distance: four stages, 24 to 160 channels",
        "data": f"photos: {FEATURES.crops} crops of {FEATURES.size}x{FEATURES.size} pixels from 15 photographs",
        "scale": "cpu",
        "seed": SEED,
        "threads": torch.get_num_threads(),
        "budgets": {"features": asdict(FEATURES.budget)},
        "measures": {"training_seconds": seconds, **answered(shipped, test, seeded(SEED))},
    }
