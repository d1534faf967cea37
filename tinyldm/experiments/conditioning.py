"""One task, several doors: draw the scene that a label, a caption, a mask or an outline asks for, by the same small U-Net.

A row of ``MECHANISMS`` is a way for a condition to enter. Each is trained alike and measured by the same judge.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path as FilePath
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import zoo
from ..data import InMemory, load
from ..data.shapes import COLORS, ONE, SHAPES, facts
from ..denoiser import Denoiser
from ..errors import choose
from ..latent import LatentDiffusion
from ..nn import Adapter, Condition, Controlled, ControlNet, UNetConfig
from ..path import VP
from ..runtime import device, reseeded, seeded
from ..space import LatentSpace
from ..text import Text
from ..train import Budget, Loss, fit
from .scenes import FIRST, RELATION, SCENES, SceneJudge, outlines, overlap, train_space
from .training import denoise_loss

PATH, PARAMETRISATION = VP(), "v"
FACTOR = 4  # pixels along the side of a latent's place
SIZES = UNetConfig(channels=(32, 64), attention=(False, True), classes=0)  # before a door is built in
BUDGET = Budget(800, 32, 2e-3)
READER = Budget(4000, 32, 2e-3)  # of the zoo's model that reads
LATENT, STEPS = (4, 8, 8), 15  # of a picture of 32 x 32, and intervals in which it is drawn
HIDDEN = 0.1  # how often the condition is hidden in training

Columns = dict[str, Tensor]


@dataclass(frozen=True)
class Mechanism:
    """A door: what comes in, and what is built for it.

    said: in words. slots: (scenes as ``described`` gives them) -> the slots of a condition. sizes: of the U-Net, where they
    differ from ``SIZES``. beside: what speaks to a frozen U-Net that reads, or nothing.
    """

    said: str
    slots: Callable[[Columns], Columns]
    sizes: dict[str, Any] = field(default_factory=dict)
    beside: str = ""


def _label(scenes: Columns) -> Columns:
    """Shape and colour of the first object, and whether there is another."""
    shape, color = scenes["facts"][:, FIRST].T
    return {"label": ((scenes["facts"][:, RELATION] != ONE) * len(SHAPES) + shape) * len(COLORS) + color}


def _pooled(scenes: Columns) -> Columns:
    return {"vector": scenes["pooled"]}


def _words(scenes: Columns) -> Columns:
    return {name: scenes[name] for name in ("tokens", "tokens_mask")}


def _mask(scenes: Columns) -> Columns:
    """Where objects are, the 4 x 4 pixels of each place of the latent as 16 channels, so that nothing is lost."""
    return {"image": F.pixel_unshuffle((scenes["mask"] > 0).float(), FACTOR)}


def _read(scenes: Columns) -> Columns:
    return {**_words(scenes), **_pooled(scenes)}


def _outlined(scenes: Columns) -> Columns:
    return {**_read(scenes), "hint": scenes["edges"]}


MECHANISMS = {
    "nothing": Mechanism("nothing", lambda scenes: {}),
    "label": Mechanism("a number: the first object", _label, {"classes": 2 * len(SHAPES) * len(COLORS)}),
    "bias": Mechanism("the caption as one vector", _pooled, {"vector": 128}),
    "film": Mechanism("the caption as one vector", _pooled, {"vector": 128, "scale_shift": True}),
    "attention": Mechanism("the caption, token by token", _words, {"tokens": 128}),
    "both": Mechanism(
        "the caption, token by token and as one vector",
        _read,
        {"tokens": 128, "vector": 128, "scale_shift": True, "attention": (True, True)},
    ),
    "concatenation": Mechanism(
        "the mask", _mask, {"in_channels": SIZES.in_channels + FACTOR**2, "out_channels": SIZES.in_channels}
    ),
    "controlnet": Mechanism("caption and outline", _outlined, beside="controlnet"),
    "adapter": Mechanism("caption and outline", _outlined, beside="adapter"),
}
BESIDE: dict[str, Callable[[Any], ControlNet | Adapter]] = {
    "controlnet": partial(ControlNet.copy_of, hint_channels=1, hint_widths=(16, 32, 64)),
    "adapter": partial(Adapter.suiting, hint_channels=1, hint_factor=FACTOR),
}


def described(scenes: InMemory, text: Text, space: LatentSpace | None = None, seed: int = 0) -> Columns:
    """Everything that one may want to tell about scenes, column by column, and with a ``space`` their latents."""
    columns = scenes.tensors
    tokens, mask, pooled = text.read(columns["caption"])
    longest = int(mask.sum(1).max())
    said = {"tokens": tokens[:, :longest], "tokens_mask": mask[:, :longest], "pooled": pooled, "facts": facts(columns["caption"])}
    found = {
        "scene": columns["image"],
        **{name: columns[name] for name in ("mask", "edges")},
        **{name: t.cpu() for name, t in said.items()},
    }
    return found if space is None else {"latent": space.encode(columns["image"], seeded(seed)).cpu(), **found}


def scenes_told(n: int, split: str, text: Text, space: LatentSpace | None = None, seed: int = 0) -> tuple[Columns, list[str]]:
    """n scenes, half of them with one object and half with two, as ``described`` gives them, and their captions."""
    parts = [load("shapes", split, n=n // 2, seed=seed, objects=k).tensors for k in (1, 2)]
    captions = [caption for part in parts for caption in part["caption"]]
    pictures = {name: torch.cat([part[name] for part in parts]) for name in ("image", "mask", "edges")}
    return described(InMemory({**pictures, "caption": captions}), text, space, seed), captions


def nothing_of(slots: Columns, text: Text) -> Condition | None:
    """The condition of batch 1 that says nothing in these slots: no words, no mask. An outline is never hidden."""
    read = [slot for slot in ("tokens", "vector") if slot in slots]
    if read:
        return text("", read)
    return Condition(image=torch.zeros_like(slots["image"][:1])) if "image" in slots else None


def watched(loss: Loss, watch: Callable[[int, nn.Module], None] | None) -> Loss:
    """The same loss; ``watch`` is called before each update with how many there have been, and the network."""
    if watch is None:
        return loss
    done = 0

    def watching(module: nn.Module, batch: Columns, generator: torch.Generator) -> Tensor:
        nonlocal done
        watch(done, module)
        done += 1
        return loss(module, batch, generator)

    return watching


def train_door(
    name: str,
    told: Columns,
    text: Text,
    *,
    budget: Budget = BUDGET,
    seed: int = 0,
    base: Any = None,
    watch: Callable[[int, nn.Module], None] | None = None,
    checkpoint: FilePath | None = None,
    progress: bool = True,
) -> Denoiser:
    """A U-Net whose condition comes in by the door ``name``.

    told: columns with "latent", see ``described``. base: for a control, the trained U-Net that reads, which is frozen.
    watch: see ``watched``. Raises ``ValueError`` for an unknown door.
    """
    door = choose("name", name, MECHANISMS)
    slots = door.slots(told)
    with reseeded(seed):
        if door.beside:
            net: Any = Controlled(base, BESIDE[door.beside](base))
        else:
            net = UNetConfig.from_dict({**SIZES.as_dict(), **door.sizes}).build()
    loss = denoise_loss(PATH, PARAMETRISATION, HIDDEN, null=nothing_of(slots, text))
    data = InMemory({"latent": told["latent"], **slots})
    watching = watched(loss, watch)
    fit(net.to(device()), watching, data, budget, generator=seeded(seed), checkpoint=checkpoint, label=name, progress=progress)
    return Denoiser(net, PATH, PARAMETRISATION)


def train_scenes(
    text: Text, budget: Budget = READER, *, seed: int = 0, folder: str | os.PathLike | None = None, progress: bool = True
) -> LatentDiffusion:
    """A latent diffusion model of scenes that reads captions: its autoencoder, then its denoiser.

    folder: where the two checkpoints go, so that a killed run can go on.
    """
    files = [None if folder is None else FilePath(folder) / f"{part}.safetensors" for part in ("autoencoder", "denoiser")]
    space = train_space(seed=seed, checkpoint=files[0], progress=progress)
    told, _ = scenes_told(SCENES, "train", text, space, seed)
    denoiser = train_door("both", told, text, budget=budget, seed=seed, checkpoint=files[1], progress=progress)
    return LatentDiffusion(space, denoiser, LATENT, text)


def draw(
    space: LatentSpace, denoiser: Denoiser, name: str, told: Columns, text: Text, *, guidance: float = 1.0, seed: int = 0
) -> Tensor:
    """A picture for each row of ``told``, by a denoiser whose condition comes in by the door ``name``."""
    slots = choose("name", name, MECHANISMS).slots(told)
    n = len(told["facts"])
    on, null = Condition(**slots) if slots else None, nothing_of(slots, text)  # type: ignore[arg-type]
    off = on.drop(torch.ones(n, dtype=torch.bool), null) if on is not None and null is not None else None
    model = LatentDiffusion(space, denoiser, LATENT)
    return model.sample(n, on, steps=STEPS, guidance=guidance, unconditional=off, generator=seeded(seed)).cpu()


def measure(judge: SceneJudge, images: Tensor, told: Columns, captions: list[str]) -> dict[str, float]:
    """What the judge finds right in pictures, of one object ("one_...") and of two ("two_..."), and how outlines agree."""
    found: dict[str, float] = {"outline": overlap(outlines(images), told["edges"] > 0.5).mean().item()}
    right = judge.verdict(images, captions)
    one = told["facts"][:, RELATION] == ONE
    for kind, chosen in (("one", one), ("two", ~one)):
        found |= {f"{kind}_{key}": value[chosen].float().mean().item() for key, value in right.items()}
    return found


def with_net(name: str, model: LatentDiffusion, net: Any) -> Denoiser:
    """The denoiser of a door with this network, or with it beside the U-Net of a model that reads."""
    return Denoiser(Controlled(model.denoiser.net, net) if MECHANISMS[name].beside else net, PATH, PARAMETRISATION)  # type: ignore[arg-type]


def shipped(name: str) -> Denoiser:
    """The denoiser of a door that comes with the library. Raises ``ValueError`` for a door without one."""
    model = zoo.load("scenes")
    return model.denoiser if name == "both" else with_net(name, model, zoo.load(f"door-{name}"))


def weights(module: nn.Module) -> int:
    """How many numbers a network has."""
    return sum(p.numel() for p in module.parameters())


def operations(denoiser: Denoiser, slots: Columns) -> int:
    """Multiplications and additions of one call for one picture, counted by PyTorch while it makes the call."""
    from torch.utils.flop_counter import FlopCounterMode

    cond = Condition(**{name: t[:1] for name, t in slots.items()})  # type: ignore[arg-type]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        denoiser(torch.zeros(1, *LATENT), torch.tensor(0.5), cond)
    return counter.get_total_flops()
