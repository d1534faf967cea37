"""By which door does a condition enter best? One task, one small U-Net, one budget for each, see ``conditioning``."""

from functools import cache
from typing import Any

from torch import nn

from ... import zoo
from ...denoiser import Denoiser
from ...runtime import device
from ...train import Budget
from ..conditioning import (
    BUDGET,
    MECHANISMS,
    PARAMETRISATION,
    PATH,
    Columns,
    draw,
    measure,
    operations,
    scenes_told,
    train_door,
    weights,
)
from ..scenes import SCENES, scene_judge

STEPS = (BUDGET.steps,)
TOLD = {"label": ("one_shape", "one_color"), "concatenation": ("outline",), "controlnet": ("outline",), "adapter": ("outline",)}
WORDS = ("one_all", "two_all")  # what all others are told, or measured by
TESTS, LOOK, FEW = 200, 100, 4  # scenes to be drawn; after how many updates there is a look, at each fourth of them
GUIDANCE = 3.0


@cache
def _scenes() -> tuple[Columns, Columns, list[str]]:
    model = zoo.load("scenes")
    told, _ = scenes_told(SCENES, "train", model.text, model.space)
    return told, *scenes_told(TESTS, "test", model.text)


@cache
def trained(kind: str, seed: int, steps: int) -> tuple[Denoiser, list[tuple[int, float]]]:
    """A denoiser with this door, and on the way (updates, how much of what it was told it had got right)."""
    model, (told, asked, captions), judge, history = zoo.load("scenes"), _scenes(), scene_judge(), list[tuple[int, float]]()
    few, keys = {name: column[::FEW] for name, column in asked.items()}, TOLD.get(kind, WORDS)

    def look(done: int, net: nn.Module) -> None:
        if done and done % LOOK == 0:
            images = draw(model.space, Denoiser(net, PATH, PARAMETRISATION), kind, few, model.text, guidance=GUIDANCE)
            right = measure(judge, images, few, captions[::FEW])
            history.append((done, sum(right[key] for key in keys) / len(keys)))

    base = model.denoiser.net.to(device()) if MECHANISMS[kind].beside else None
    budget = Budget(steps, BUDGET.batch, BUDGET.lr)
    return train_door(kind, told, model.text, budget=budget, seed=seed, base=base, watch=look, progress=False), history


def doors_row(kind: str, weight: float, seed: int, steps: tuple[int, ...] = STEPS) -> dict[str, Any]:
    """One training and its measures. reached: updates until nine tenths of what is right at the end are; weight: unused."""
    denoiser, history = trained(kind, seed, *steps)
    _, asked, captions = _scenes()
    model = zoo.load("scenes")
    images = draw(model.space, denoiser, kind, asked, model.text, guidance=GUIDANCE)
    found = measure(scene_judge(), images, asked, captions)
    keys = TOLD.get(kind, WORDS)
    final = sum(found[key] for key in keys) / len(keys)
    reached = next((done for done, share in history if share >= 0.9 * final), steps[0])
    return {
        "kind": kind,
        "weight": weight,
        "seed": seed,
        **found,
        "reached": reached,
        "weights": weights(denoiser.net),
        "operations": operations(denoiser, MECHANISMS[kind].slots(asked)),
    }
