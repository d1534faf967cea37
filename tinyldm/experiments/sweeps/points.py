"""Points in the plane: every autoencoder, four sources of latents, and how much of what they decode to is data."""

from typing import Any

import torch
from torch import Tensor

from ...data.points import six_gaussians
from ...errors import choose
from ...gaussian import DiagonalGaussian, kl_split
from ...metrics import precision_recall
from ...path import VP
from ...runtime import normal, seeded
from ...solvers import dpmpp_2m, sample
from ...solvers.grids import grid
from ..digits import gaussian_baseline
from ..points import points_autoencoder, points_denoiser
from ..rivals import KINDS, points_codebook

DRAWS = 4000  # samples from every source
STEPS = (1500, 2000)  # updates of the autoencoder and of the denoiser in the rows that come with the library
COMPARED = 2000  # rows of each set in precision and recall


def on_data(points: Tensor) -> float:
    """The share of points (N, 2) within three standard deviations of one of the six Gaussians; 98.9 % of true data are."""
    six = six_gaussians()
    reach = 3 * six.variances.max().sqrt()
    return float((torch.cdist(points.double().cpu(), six.means).min(1).values < reach).double().mean())


def train_points(kind: str, weight: float, seed: int, steps: int | None = None) -> tuple[Any, Tensor]:
    """(autoencoder, the 2,000 points it learned). kind: "ae", "vae" with this KL weight (sum/sum), or "vq"."""
    choose("kind", kind, KINDS)
    points = six_gaussians().sample(2000, seeded(100 + seed)).float()
    if kind == "vq":
        return points_codebook(points, steps=steps, seed=seed)[0], points
    return points_autoencoder(points, weight, stochastic=kind == "vae", steps=steps, seed=seed)[0], points


@torch.no_grad()
def sources(module: Any, points: Tensor, seed: int, steps: int | None = None, stochastic: bool = True) -> dict[str, Tensor]:
    """Latents (N, d) by where they come from: "encoded" data, the "prior" N(0, I), the fitted "gaussian", "diffusion".

    stochastic: data are encoded by a sample of the posterior; if not, by its mean.
    """
    posterior = module.encode(points)
    z = posterior.sample(seeded(200 + seed)) if stochastic else posterior.mean
    shift, scale = z.mean(0), 1 / z.std()
    with torch.enable_grad():
        denoiser, _ = points_denoiser(VP(), "v", (z - shift) * scale, steps=steps, seed=seed)
    start = normal((DRAWS, z.shape[1]), seeded(400 + seed), z)
    drawn = sample(denoiser.dynamics(), start, grid(denoiser.path, 25), dpmpp_2m)
    return {
        "encoded": z,
        "prior": normal((DRAWS, z.shape[1]), seeded(300 + seed), z),
        "gaussian": gaussian_baseline(z, DRAWS, seeded(500 + seed)),
        "diffusion": drawn / scale + shift,
    }


def kl_columns(posterior: DiagonalGaussian, generator: torch.Generator) -> dict[str, float]:
    """The mean KL of posteriors (N, ...) and its two parts, see ``kl_split``."""
    split = kl_split(posterior, generator)
    parts = {"kl": posterior.kl(), "information": split.information, "marginal": split.marginal}
    return {name: float(part.mean()) for name, part in parts.items()}


@torch.no_grad()
def points_row(kind: str, weight: float, seed: int, steps: tuple[int, int] | tuple[None, None] = STEPS) -> dict:
    """One row: the autoencoder's error, posterior and KL split, and for each source the share on the data and the recall.

    steps: updates of the autoencoder and of the denoiser. "error" is the mean squared distance of a decoded mean,
    "noisy" of a decoded sample; "sigma" the mean posterior standard deviation, "std" that of all latents.
    Without a posterior, for "ae" and "vq", there is no split and "sigma" is 0.
    """
    with torch.enable_grad():
        module, points = train_points(kind, weight, seed, steps[0])
    posterior, found = module.encode(points), sources(module, points, seed, steps[1], kind == "vae")
    truth = six_gaussians().sample(COMPARED, seeded(600 + seed))
    row: dict[str, Any] = {
        "kind": kind,
        "weight": weight,
        "seed": seed,
        "error": float((module.decode(posterior.mean) - points).square().sum(1).mean()),
        "noisy": float((module.decode(found["encoded"]) - points).square().sum(1).mean()),
        "sigma": float(posterior.std.mean()) if kind == "vae" else 0.0,
        "std": float(found["encoded"].std()),
        **(kl_columns(posterior, seeded(500 + seed)) if kind == "vae" else {}),
    }
    for name, z in found.items():
        decoded = module.decode(z)
        row[name] = on_data(decoded)
        row[f"{name}_recall"] = precision_recall(truth, decoded[:COMPARED])[1]
    return row
