"""Learning to read from pictures and their names: the tokenizer, CLIP in miniature, and its rival that knows no order."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data import InMemory, load
from ..data.shapes import facts, sentences
from ..losses import contrastive_loss
from ..metrics.retrieval import found_first
from ..nn import CLIP, CLIPConfig, Tokenizer
from ..runtime import device, seeded
from ..train import Budget, Loss, fit

ROUNDS = tuple(Budget(1500, 128, lr, weight_decay=0.1) for lr in (2e-3, 1e-3))  # the zoo's, one after the other
MERGES, LENGTH = 1024, 24
SHIFT = 2  # pixels by which a picture is moved at random while training
PAPER = 1.0  # what is beyond the edge of a picture: white


def named_pictures(split: str, scenes: int = 3000, size: int = 32) -> InMemory:
    """Icons and scenes of two shapes, in colour: "image" (N, 3, size, size) and "caption"."""
    icons, shapes = load("icons", split, size).tensors, load("shapes", split, size, n=scenes).tensors
    image = torch.cat([icons["image"].expand(-1, 3, -1, -1), shapes["image"]])
    return InMemory({"image": image, "caption": [*icons["caption"], *shapes["caption"]]})


def learn_tokenizer(data: InMemory) -> Tokenizer:
    """The pieces of words that the captions at hand are made of."""
    return Tokenizer.learn(data.tensors["caption"], MERGES, LENGTH)


class BagOfWords(nn.Module):
    """CLIP's rival: a text is the mean of its tokens' vectors, whatever their order."""

    def __init__(self, clip: CLIP) -> None:
        super().__init__()
        self.clip, config = clip, clip.config
        self.table = nn.Embedding(config.vocabulary, config.projection)

    def forward(self, x: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        return self.clip.of_pictures(x), self.of_texts(ids)

    def of_texts(self, ids: Tensor) -> Tensor:
        """Unit vectors of texts; start and end, the last two tokens, say nothing."""
        said = (ids < self.table.num_embeddings - 2).to(self.table.weight)
        return F.normalize((self.table(ids) * said[..., None]).sum(1), dim=1)

    def of_pictures(self, x: Tensor) -> Tensor:
        """Unit vectors of pictures, by an encoder like CLIP's."""
        return self.clip.of_pictures(x)

    @property
    def scale(self) -> Tensor:
        return self.clip.scale


def matching_loss(tokenizer: Tokenizer) -> Loss:
    """The loss for ``fit``: each picture of the batch, slightly moved, finds its own text, and the other way round."""

    def loss(module: Any, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        x, ids = batch["image"], batch["ids"]
        down, right = torch.randint(0, 2 * SHIFT + 1, (2,), generator=generator).tolist()
        padded = F.pad(x, (SHIFT,) * 4, value=PAPER)
        moved = padded[..., down : down + x.shape[2], right : right + x.shape[3]]
        longest = int(tokenizer.mask(ids).sum(1).max())  # what follows a text's end changes nothing: it need not be computed
        pictures, texts = module(moved, ids[:, :longest])
        return contrastive_loss(pictures, texts, module.scale).mean()

    return loss


def train_clip(
    data: InMemory,
    tokenizer: Tokenizer,
    rounds: Sequence[Budget] = ROUNDS,
    *,
    seed: int = 0,
    bag: bool = False,
    progress: bool = True,
) -> Any:
    """CLIP on named pictures, or with ``bag`` its rival. data: "image" (N, 3, H, W) and "caption"."""
    module: Any = CLIPConfig(tokenizer.size, length=tokenizer.length).seeded(seed)
    module = BagOfWords(module) if bag else module
    told = InMemory({"image": data.tensors["image"], "ids": tokenizer(data.tensors["caption"])})
    for k, budget in enumerate(rounds):
        loss = matching_loss(tokenizer)
        fit(module.to(device()), loss, told, budget, generator=seeded(seed + k), label="clip", progress=progress)
    return module


def matched(module: Any, tokenizer: Tokenizer, among: int = 50, seed: int = 0) -> dict[str, float]:
    """How often the right picture is found for a text, among so many that nobody has trained on; and what order is worth.

    "icons", "shapes": held-out compositions, unseen scenes. "recolored", "exchanged": of scenes of two objects, how often the
    right caption is nearer than the one in which the colours, or the objects, have changed places; 0.5 by chance.
    """
    found = {}
    for name, options in (("icons", {}), ("shapes", {"n": 1000})):
        pictures, texts = features(module, load(name, "test", 32, **options), tokenizer)
        found[name] = found_first(texts, pictures, among, seeded(seed))
    scenes = load("shapes", "test", 32, n=1000, seed=1)
    said = facts(scenes.tensors["caption"])
    for name, order in (("recolored", [0, 4, 2, 3, 1, 5]), ("exchanged", [3, 4, 2, 0, 1, 5])):
        wrong = said[:, order]
        differ = ((wrong != said).any(1) & (said[:, 0] != said[:, 3]) & (said[:, 1] != said[:, 4])).nonzero()[:, 0]
        pictures, right = features(module, InMemory(scenes[differ]), tokenizer)
        with torch.no_grad():
            other = module.of_texts(tokenizer(sentences(wrong[differ])).to(device())).cpu()
        nearer = (pictures * right).sum(1) - (pictures * other).sum(1)
        found[name] = ((nearer > 1e-5).float() + 0.5 * (nearer.abs() <= 1e-5).float()).mean().item()  # a tie is half right
    return found


@torch.no_grad()
def features(module: Any, data: InMemory, tokenizer: Tokenizer, batch: int = 256) -> tuple[Tensor, Tensor]:
    """Unit vectors of the pictures and of their texts, (N, D) each."""
    ids = tokenizer(data.tensors["caption"])
    pictures = [module.of_pictures(x.to(device())).cpu() for x in data.tensors["image"].split(batch)]
    return torch.cat(pictures), torch.cat([module.of_texts(i.to(device())).cpu() for i in ids.split(batch)])
