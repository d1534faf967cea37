"""Scenes that were asked for: a judge that says what a picture shows, and the model that draws from captions.

The judge is a small classifier trained on rendered scenes alone; no network's picture has taught it, and no denoiser learns
from its answers. What it can count and outline without learning, it does by comparing with the picture's border.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .. import zoo
from ..data import InMemory, load
from ..data.shapes import BACKGROUNDS, COLORS, ONE, RELATIONS, SHAPES, facts
from ..errors import expect
from ..nn import Classifier, ClassifierConfig
from ..runtime import device, seeded
from ..space import LatentSpace
from ..train import Budget, Loss, fit
from .photos import Objective, train_autoencoder
from .pictures import SMALL

FIRST, SECOND, GROUND = [0, 1], [3, 4], 5  # columns of ``facts``: shape and colour of each object, and the ground
RELATION = 2
CONTRAST = 0.25  # of 2: by how much an object differs from the ground in one of three colours
SMALLEST = 8  # pixels: what is smaller is no object
JUDGE = Budget(600, 64, 2e-3)
SCENES = 12000  # to learn to draw from
AUTOENCODER = Budget(2500, 16, 3e-3, ema=0.998)
SEED = 100  # of the judge's scenes: no denoiser has seen them


def halves(images: Tensor, relation: int) -> tuple[Tensor, Tensor]:
    """Where a relation, by its place in ``RELATIONS``, says the first object is and where the second: two half pictures."""
    axis, sign = list(RELATIONS.values())[relation]
    low, high = images.chunk(2, dim=3 - axis)  # left and right, or upper and lower
    first_is_low = (sign < 0) if axis == 0 else (sign > 0)
    return (low, high) if first_is_low else (high, low)


def foreground(images: Tensor) -> Tensor:
    """Where pictures (N, 3, H, W) are not the colour of their border: (N, 1, H, W), true on objects."""
    border = torch.cat([images[..., 0, :], images[..., -1, :], images[..., :, 0], images[..., :, -1]], dim=-1)
    return (images - border.median(-1).values[..., None, None]).abs().amax(1, keepdim=True) > CONTRAST


def outlines(images: Tensor) -> Tensor:
    """The outlines of what is in pictures (N, 3, H, W): the pixels beside a change from object to ground, (N, 1, H, W)."""
    on = foreground(images).float()
    return F.max_pool2d(on, 3, 1, 1) + F.max_pool2d(-on, 3, 1, 1) > 0  # dilated, but not eroded


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of two sets of pixels (N, 1, H, W), one number a picture, (N,); two empty ones agree."""
    both, either = (a & b).flatten(1).sum(1), (a | b).flatten(1).sum(1)
    return torch.where(either > 0, both / either.clamp(min=1), 1.0)


def count(images: Tensor) -> Tensor:
    """How many objects, connected pieces of foreground, there are in pictures (N, 3, H, W): (N,)."""
    from scipy.ndimage import label

    pieces = [label(on, np.ones((3, 3)))[0] for on in foreground(images)[:, 0].cpu().numpy()]
    return torch.tensor([int((np.bincount(piece.ravel())[1:] >= SMALLEST).sum()) for piece in pieces])


class SceneJudge:
    """What of a caption a picture shows, as a trained ``net`` sees it that answers: which shape, which colour, which ground."""

    def __init__(self, net: Classifier) -> None:
        self.net = net

    @torch.no_grad()
    def verdict(self, images: Tensor, captions: Sequence[str]) -> dict[str, Tensor]:
        """For pictures (N, 3, H, W) and their captions, whether each of these is right, (N,) each.

        "shape" and "color": of every object asked for, looked for on its side; "place": more shapes and colours fit as asked
        than with the two objects exchanged; "count": as many objects as asked; "ground"; "all" of them together.
        Raises ``ValueError`` for another number of captions, and for sentences that describe no scene.
        """
        asked = facts(captions)
        expect(len(images) == len(asked), "captions", f"{len(asked)} sentences", f"{len(images)}, one a picture")
        right = {key: torch.ones(len(images), dtype=torch.bool) for key in ("shape", "color", "place", "count", "ground")}
        for relation in asked[:, RELATION].unique().tolist():
            chosen = (asked[:, RELATION] == relation).nonzero()[:, 0]
            x, want = images[chosen].to(next(self.net.parameters()).device), asked[chosen]
            right["ground"][chosen] = self._answers(x)[:, 2] == want[:, GROUND]
            sides = [(x, FIRST)] if relation == ONE else list(zip(halves(x, relation), (FIRST, SECOND)))
            seen = [self._answers(side)[:, :2] for side, _ in sides]
            straight = torch.stack([found == want[:, columns] for found, (_, columns) in zip(seen, sides)])  # (objects, n, 2)
            right["shape"][chosen], right["color"][chosen] = straight.all(0).T
            if len(sides) == 2:
                crossed = torch.stack([seen[0] == want[:, SECOND], seen[1] == want[:, FIRST]])
                alike = (want[:, FIRST] == want[:, SECOND]).all(1)  # objects that can change places unseen
                right["place"][chosen] = (straight.sum((0, 2)) > crossed.sum((0, 2))) | alike
        right["count"] = count(images.cpu()) == 1 + (asked[:, RELATION] != ONE).long()
        return right | {"all": torch.stack(list(right.values())).all(0)}

    def accuracy(self, images: Tensor, captions: Sequence[str]) -> dict[str, float]:
        """The share of pictures (N, 3, H, W) for which each ``verdict`` is yes."""
        return {key: right.float().mean().item() for key, right in self.verdict(images, captions).items()}

    def _answers(self, x: Tensor) -> Tensor:
        return torch.stack([logits.argmax(1) for logits in self.net(x)], dim=1).cpu()


def judge_loss(pairs: InMemory) -> Loss:
    """The loss for ``fit`` on scenes of one object, "image" and "facts": name it; and both halves of as many ``pairs``."""
    by_relation = [(pairs.tensors["facts"][:, RELATION] == r).nonzero()[:, 0] for r in range(len(RELATIONS))]

    def loss(module: Any, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        relation = int(torch.randint(len(RELATIONS), (), generator=generator))
        rows = by_relation[relation]
        chosen = pairs[rows[torch.randint(len(rows), (len(batch["image"]) // 2,), generator=generator)]]
        x, told = chosen["image"].to(batch["image"]), chosen["facts"].to(batch["facts"])
        sides = torch.cat(halves(x, relation))
        return named(module, batch["image"], batch["facts"][:, [*FIRST, GROUND]]) + named(
            module, sides, torch.cat([told[:, [*FIRST, GROUND]], told[:, [*SECOND, GROUND]]])
        )

    def named(module: Any, x: Tensor, answers: Tensor) -> Tensor:
        return torch.stack([F.cross_entropy(logits, answers[:, k]) for k, logits in enumerate(module(x))]).sum()

    return loss


def train_judge(budget: Budget = JUDGE, *, seed: int = 0, progress: bool = True) -> Classifier:
    """The judge's network, taught by rendered scenes of one and of two objects."""
    singles, pairs = (
        InMemory({"image": scenes.tensors["image"], "facts": facts(scenes.tensors["caption"])})
        for scenes in (load("shapes", n=6000, seed=SEED, objects=k) for k in (1, 2))
    )
    net: Classifier = ClassifierConfig((len(SHAPES), len(COLORS), len(BACKGROUNDS))).seeded(seed).to(device())
    fit(net, judge_loss(pairs), singles, budget, generator=seeded(seed), label="judge", progress=progress)
    return net


def scene_judge() -> SceneJudge:
    """The judge that comes with the library."""
    return SceneJudge(zoo.load("scenes-judge"))


def train_space(
    budget: Budget = AUTOENCODER, *, seed: int = 0, checkpoint: FilePath | None = None, progress: bool = True
) -> LatentSpace:
    """The latents of scenes, 4 x 8 x 8 for 32 x 32 pixels, by an autoencoder of chapter 00's small size."""
    images = torch.cat([load("shapes", n=4000, seed=1, objects=k).tensors["image"] for k in (1, 2, 2)])
    module, _ = train_autoencoder(
        replace(SMALL, in_channels=3),
        Objective("l2", kl_weight=1e-4),
        InMemory({"image": images}),
        budget,
        seed=seed,
        checkpoint=checkpoint,
        progress=progress,
    )
    return LatentSpace.measured(module, images[::8])
