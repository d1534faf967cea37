"""Learning to read from pictures and their names: the tokenizer, CLIP in miniature, and its rival that knows no order."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data import InMemory, load
from ..losses import contrastive_loss
from ..nn import CLIP, CLIPConfig, Tokenizer
from ..runtime import device, seeded
from ..train import Budget, Loss, fit

BUDGETS = {"ci": Budget(40, 64, 2e-3, weight_decay=0.1), "cpu": Budget(1000, 128, 2e-3, weight_decay=0.1)}
BUDGETS["gpu"] = Budget(6000, 512, 1e-3, ema=0.999, weight_decay=0.1)
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
    data: InMemory, tokenizer: Tokenizer, budget: Budget, *, seed: int = 0, bag: bool = False, progress: bool = True
) -> tuple[Any, Tensor]:
    """CLIP on named pictures, or with ``bag`` its rival, and the loss history. data: "image" (N, 3, H, W) and "caption"."""
    module: Any = CLIPConfig(tokenizer.size, length=tokenizer.length).seeded(seed)
    module = BagOfWords(module) if bag else module
    told = InMemory({"image": data.tensors["image"], "ids": tokenizer(data.tensors["caption"])})
    loss = matching_loss(tokenizer)
    history = fit(module.to(device()), loss, told, budget, generator=seeded(seed), label="clip", progress=progress)
    return module, history


@torch.no_grad()
def features(module: Any, data: InMemory, tokenizer: Tokenizer, batch: int = 256) -> tuple[Tensor, Tensor]:
    """Unit vectors of the pictures and of their texts, (N, D) each."""
    ids = tokenizer(data.tensors["caption"])
    pictures = [module.of_pictures(x.to(device())).cpu() for x in data.tensors["image"].split(batch)]
    return torch.cat(pictures), torch.cat([module.of_texts(i.to(device())).cpu() for i in ids.split(batch)])
