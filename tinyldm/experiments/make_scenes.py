"""How the zoo's models of words and scenes were made: CLIP in miniature, the judge, the model that reads, the other doors."""

import os
from dataclasses import asdict
from typing import Any

import torch

from .. import zoo
from ..data import load
from ..latent import LatentDiffusion
from ..metrics import psnr
from ..nn.weights import from_pretrained, save_pretrained
from ..text import Matcher
from ..zoo import HERE
from .conditioning import BUDGET, MECHANISMS, READER, draw, measure, scenes_told, train_door, train_scenes, with_net
from .photos import SEED
from .scenes import AUTOENCODER, JUDGE, SCENES, SceneJudge, scene_judge, train_judge
from .text import ROUNDS, learn_tokenizer, matched, named_pictures, train_clip
from .training import MADE, timed


def make_clip() -> dict[str, Any]:
    """Train CLIP in miniature and its rival; ship CLIP with its tokenizer."""
    data = named_pictures("train")
    tokenizer = learn_tokenizer(data)
    clip, seconds = timed(train_clip, data, tokenizer, seed=SEED)
    Matcher(clip, tokenizer).save(HERE / "clip", torch.float16)
    bag = train_clip(data, tokenizer, seed=SEED, bag=True)
    pairs = (("clip", Matcher.load(HERE / "clip").clip), ("bag", bag))
    return {
        "summary": "words and pictures in one space, 32x32, 128 numbers each",
        "data": f"icons: {len(load('icons'))} named pictograms; shapes: 3,000 scenes",
        **MADE,
        "budgets": {f"round {k + 1}": asdict(budget) for k, budget in enumerate(ROUNDS)},
        "measures": {
            "training_seconds": seconds,
            **{f"{who}_{what}": share for who, module in pairs for what, share in matched(module, tokenizer).items()},
        },
    }


def make_judge() -> dict[str, Any]:
    """Train the judge of scenes, ship it, measure what is shipped on scenes that nobody has trained on."""
    net, seconds = timed(train_judge, seed=SEED)
    save_pretrained(net, HERE / "scenes-judge", torch.float16)
    stored: Any = from_pretrained(HERE / "scenes-judge")
    judge = SceneJudge(stored)
    rights: dict[str, float] = {}
    for objects in (1, 2):
        tensors = load("shapes", "test", n=1000, objects=objects, seed=SEED).tensors
        rights |= {f"{key}_{objects}": share for key, share in judge.accuracy(tensors["image"], tensors["caption"]).items()}
    return {
        "summary": "which shape, colour and ground a rendered scene, or half of it, shows",
        "data": "shapes: 6,000 scenes of one object, 6,000 of two",
        **MADE,
        "budgets": {"judge": asdict(JUDGE)},
        "measures": {"training_seconds": seconds, **rights},
    }


def make_scenes(folder: str | os.PathLike | None = None) -> dict[str, Any]:
    """Train the autoencoder and the denoiser of scenes, whose captions the shipped CLIP's text encoder reads."""
    text = zoo.load("clip").text
    model, seconds = timed(train_scenes, text, seed=SEED, folder=folder)
    model.save(HERE / "scenes", torch.float16)
    model = LatentDiffusion.load(HERE / "scenes")
    asked, captions = scenes_told(400, "test", text)
    rights: dict[str, float] = {}
    for scale in (1.0, 3.0):
        images = draw(model.space, model.denoiser, "both", asked, text, guidance=scale)
        rights |= {f"{key}_w{scale:g}": share for key, share in measure(scene_judge(), images, asked, captions).items()}
    rebuilt = model.space.decode(model.space.encode(asked["scene"]))
    return {
        "summary": "scenes of one or two coloured shapes from captions, 32x32, latents 4x8x8",
        "data": f"shapes: {SCENES:,} scenes, half of one object and half of two",
        **MADE,
        "budgets": {"autoencoder": asdict(AUTOENCODER), "denoiser": asdict(READER)},
        "measures": {"training_seconds": seconds, "psnr": psnr(asked["scene"], rebuilt).mean().item(), **rights},
    }


def make_door(name: str) -> dict[str, Any]:
    """Train one door, as the sweep does, and ship its network; a control stands beside the shipped model's U-Net."""
    model = zoo.load("scenes")
    told, _ = scenes_told(SCENES, "train", model.text, model.space)
    base = model.denoiser.net if MECHANISMS[name].beside else None
    denoiser, seconds = timed(train_door, name, told, model.text, base=base, seed=SEED)
    save_pretrained(denoiser.net if base is None else denoiser.net.controls[0], HERE / f"door-{name}", torch.float16)
    denoiser = with_net(name, model, from_pretrained(HERE / f"door-{name}"))
    asked, captions = scenes_told(400, "test", model.text)
    images = draw(model.space, denoiser, name, asked, model.text, guidance=3.0)
    return {
        "summary": f"a denoiser of scenes that is told {MECHANISMS[name].said}",
        "data": f"shapes: {SCENES:,} scenes, half of one object and half of two",
        **MADE,
        "budgets": {"denoiser": asdict(BUDGET)},
        "measures": {"training_seconds": seconds, **measure(scene_judge(), images, asked, captions)},
    }
