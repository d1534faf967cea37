"""How the models in the zoo were made: ``python -m tinyldm.experiments.make digits`` trains, measures and writes one again.

Of the digits model three seeds are trained, so that the card can say how far chance moves each measure; the first is shipped.
All are stored in half precision, and what is measured is what is stored.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from ..data import load
from ..errors import choose
from ..files import atomic_file, read_json
from ..latent import LatentDiffusion
from ..losses.pretext import DAMAGES, damaged, turned
from ..metrics import psnr, ssim
from ..nn import AutoencoderKL, FeatureNet
from ..nn.weights import from_pretrained, save_pretrained
from ..runtime import seeded
from ..space import LatentSpace
from ..zoo import HERE
from .digits import DIGITS, digits_judge, measure, train_digits
from .make_scenes import make_clip, make_door, make_judge, make_scenes
from .photos import FEATURES, OBJECTIVE, ROUNDS, SEED, SHIPPED, patch_components, photos_config, train_autoencoder, train_features
from .training import MADE, timed

SEEDS = (SEED, 1, 2)


def make_digits() -> dict[str, Any]:
    """Train the digits model at ``cpu`` scale with each seed; ship seed 0."""
    recipe, judge = DIGITS["cpu"], digits_judge()
    folder = HERE / "digits"
    runs = []
    for seed in SEEDS:
        model, seconds = timed(train_digits, recipe, seed)
        if seed == SEED:
            model.save(folder, torch.float16)
            model = LatentDiffusion.load(folder)  # measure what is shipped, half precision and all
        runs.append({"seed": seed, "training_seconds": round(seconds, 1), **measure(model, judge)})
    keys = ("psnr", "accuracy", "frechet", "nearest")
    return {
        "summary": "handwritten digits, 32x32, class-conditional, latents 4x8x8",
        "data": "digits: 1,437 training scans of the UCI optical digits that scikit-learn bundles, enlarged from 8x8",
        **MADE,
        "budgets": {"autoencoder": asdict(recipe.autoencoder_budget), "denoiser": asdict(recipe.denoiser_budget)},
        "measures": {name: value for name, value in runs[0].items() if name != "seed"},
        "spread": {name: {"mean": mean(r[name] for r in runs), "values": [r[name] for r in runs]} for name in keys},
    }


def make_photos(channels: int) -> dict[str, Any]:
    """Train the autoencoder with this many latent channels; a round starts from what the round before it stored."""
    name, config = f"photos-c{channels}", photos_config(channels)
    module: Any = None
    seconds = 0.0
    for k, recipe in enumerate(SHIPPED[: ROUNDS[channels]]):
        data = load("photos", size=recipe.size, n=recipe.crops, seed=SEED)
        (module, _), more = timed(train_autoencoder, config, OBJECTIVE, data, recipe.budget, seed=SEED + k, start_from=module)
        seconds += more
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
        **MADE,
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
    net, seconds = timed(train_features, data, FEATURES.budget, seed=SEED)
    save_pretrained(net, HERE / "features", torch.float16)
    shipped: Any = from_pretrained(HERE / "features")
    test = load("photos", "test", size=FEATURES.size, n=512, seed=SEED).tensors["image"]
    return {
        "summary": "features for a perceptual distance: four stages, 24 to 160 channels",
        "data": f"photos: {FEATURES.crops} crops of {FEATURES.size}x{FEATURES.size} pixels from 15 photographs",
        **MADE,
        "budgets": {"features": asdict(FEATURES.budget)},
        "measures": {"training_seconds": seconds, **answered(shipped, test, seeded(SEED))},
    }


MAKERS: dict[str, Callable[[], dict[str, Any]]] = {
    "digits": make_digits,
    "features": make_features,
    **{f"photos-c{channels}": partial(make_photos, channels) for channels in (4, 8, 16)},
    "clip": make_clip,
    "scenes-judge": make_judge,
    "scenes": make_scenes,
    **{f"door-{name}": partial(make_door, name) for name in ("label", "film", "concatenation", "controlnet")},
}


def main(name: str) -> None:
    """Make one model and write its card."""
    card = {**choose("model", name, MAKERS)(), "command": f"python -m tinyldm.experiments.make {name}", "licence": "MIT"}
    with atomic_file(HERE / name / "card.json") as temporary:
        temporary.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
