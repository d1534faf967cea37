"""How the models in the zoo were made: ``python -m tinyldm.zoo.make digits`` trains, measures and writes one again.

Of the digits model three seeds are trained, so that the card can say how far chance moves each measure; the first is shipped.
All are stored in half precision, and what is measured is what is stored.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from statistics import mean
from typing import Any

import torch

from ..errors import choose
from ..files import atomic_file
from ..latent import LatentDiffusion
from ..recipes import DIGITS, digits_judge, measure, train_digits
from . import HERE
from .photos import make_features, make_photos

SEEDS = (0, 1, 2)


def make_digits() -> dict[str, Any]:
    """Train the digits model at ``cpu`` scale with each seed; ship seed 0."""
    recipe, judge = DIGITS["cpu"], digits_judge()
    folder = HERE / "digits"
    runs = []
    for seed in SEEDS:
        start = time.perf_counter()
        model = train_digits(recipe, seed)
        seconds = time.perf_counter() - start
        if seed == SEEDS[0]:
            model.save(folder, torch.float16)
            model = LatentDiffusion.load(folder)  # measure what is shipped, half precision and all
        runs.append({"seed": seed, "training_seconds": round(seconds, 1), **measure(model, judge)})
    keys = ("psnr", "accuracy", "frechet", "nearest")
    return {
        "summary": "handwritten digits, 32x32, class-conditional, latents 4x8x8",
        "data": "digits: 1,437 training scans of the UCI optical digits that scikit-learn bundles, enlarged from 8x8",
        "scale": "cpu",
        "seed": SEEDS[0],
        "threads": torch.get_num_threads(),
        "budgets": {"autoencoder": asdict(recipe.autoencoder_budget), "denoiser": asdict(recipe.denoiser_budget)},
        "measures": {name: value for name, value in runs[0].items() if name != "seed"},
        "spread": {name: {"mean": mean(r[name] for r in runs), "values": [r[name] for r in runs]} for name in keys},
    }


MAKERS: dict[str, Callable[[], dict[str, Any]]] = {
    "digits": make_digits,
    "features": make_features,
    **{f"photos-c{channels}": partial(make_photos, channels) for channels in (4, 8, 16)},
}


def main(name: str) -> None:
    """Make one model and write its card."""
    card = {**choose("model", name, MAKERS)(), "command": f"python -m tinyldm.zoo.make {name}", "licence": "MIT"}
    with atomic_file(HERE / name / "card.json") as temporary:
        temporary.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
