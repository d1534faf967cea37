"""Reading: tokenizer + text encoder = the part of a model that reads; with CLIP, texts and pictures that can be compared."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .errors import choose, expect, nearest
from .nn import CLIP, Condition, TextConfig, Tokenizer
from .nn.weights import bare, described, from_pretrained, save_pretrained, tokenizer_of

SLOTS = ("tokens", "vector")  # what of a text a network may be told: each token, or one vector of the whole


@dataclass(frozen=True, eq=False)
class Text:
    """A tokenizer and an encoder, (B, L) tokens -> (B, L, C) and (B, P): called with texts, they make a ``Condition``.

    Raises ``ValueError`` for a tokenizer whose size, length or end are not those that the encoder was built for.

    >>> tokenizer = tl.nn.Tokenizer.learn(["a red circle", "a blue square"])
    >>> text = tl.Text(tokenizer, tl.nn.TextConfig(tokenizer.size).seeded(0))
    >>> text(["a blue circle", ""]).tokens.shape
    torch.Size([2, 16, 128])
    """

    tokenizer: Tokenizer
    encoder: nn.Module

    def __post_init__(self) -> None:
        tokenizer, config = self.tokenizer, getattr(bare(self.encoder), "config", None)
        if not isinstance(config, TextConfig):
            return  # an own encoder, which knows for itself what it takes
        size, length = config.vocabulary, config.length
        end = size - 1 if config.end is None else config.end
        expect(tokenizer.size == size, "tokenizer", f"{tokenizer.size} tokens", f"{size}, the vocabulary of the encoder")
        expect(tokenizer.length <= length, "tokenizer", f"texts of {tokenizer.length} tokens", f"at most the encoder's {length}")
        expect(tokenizer.end == end, "tokenizer", f"the end token {tokenizer.end}", f"{end}, the end for the encoder")

    def __call__(self, texts: str | Sequence[str], slots: Sequence[str] = ("tokens",)) -> Condition:
        """One text or B of them as a condition; "" is the one that says nothing. slots: what it is to hold, of ``SLOTS``.

        Raises what ``read`` raises, and ``ValueError`` for another slot.
        """
        tokens, mask, pooled = self.read(texts)
        held: dict[str, dict[str, Any]] = {"tokens": {"tokens": tokens, "tokens_mask": mask}, "vector": {"vector": pooled}}
        return Condition(**{name: value for slot in slots for name, value in choose("slots", slot, held).items()})

    @torch.no_grad()
    def read(self, texts: str | Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """B texts -> their tokens (B, L, C), which of them say something (B, L), and one vector a text (B, P).

        Raises ``ValueError`` for a text with more tokens than fit, and for words that the tokenizer has not learned from:
        what a network would show for a word that it has never read, would be wrong without a sign of it.
        """
        ids, at = self.tokenizer(texts).unique(dim=0, return_inverse=True)  # each text is read once
        self._refuse_unknown([texts] if isinstance(texts, str) else texts)
        place = next(self.encoder.parameters(), ids).device
        tokens, pooled = self.encoder(ids.to(place))
        at, mask = at.to(place), self.tokenizer.mask(ids).to(place)
        return tokens[at], mask[at], pooled[at]

    def _refuse_unknown(self, texts: Sequence[str]) -> None:
        """Only where there is a list of words: a tokenizer may have none, and knows them all."""
        words = getattr(self.tokenizer, "words", ())
        unknown = {word: None for text in dict.fromkeys(texts) for word in self.tokenizer.unknown(text)} if words else {}
        listed = ", ".join(f"{word!r} (did you mean {nearest(word, words)!r}?)" for word in unknown)
        expect(not unknown, "texts", listed, f"only the {len(words)} words that the tokenizer has learned from")

    def slots(self, net: nn.Module) -> tuple[str, ...]:
        """Those of ``SLOTS`` for which the configuration of a network has a width; the tokens where it does not say.

        Raises ``ValueError`` for a network that was built without either.
        """
        config = getattr(bare(net), "config", None)
        widths = {slot: getattr(config, slot) for slot in SLOTS if hasattr(config, slot)} or {"tokens": 1}
        expect(any(widths.values()), "text", self, "None: this network has been built with tokens=0 and vector=0")
        return tuple(slot for slot, width in widths.items() if width)

    def __repr__(self) -> str:
        words = len(getattr(self.tokenizer, "words", ())) or "any"
        return f"Text({described(self.encoder)}, {words} words, {self.tokenizer.length} of {self.tokenizer.size} tokens)"


@dataclass(frozen=True, eq=False)
class Matcher:
    """A ``CLIP`` with the tokenizer that it was trained with: it says how well a text and a picture go together.

    text: the part that reads, for a ``LatentDiffusion``. Raises ``ValueError`` as ``Text`` does.

    >>> matcher = tl.text.Matcher(tl.nn.CLIPConfig(tokenizer.size).seeded(0), tokenizer)
    >>> (matcher.of_pictures(torch.zeros(1, 3, 32, 32)) @ matcher.of_texts(["a red circle", "a blue square"]).T).shape
    torch.Size([1, 2])
    """

    clip: CLIP
    tokenizer: Tokenizer
    text: Text = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", Text(self.tokenizer, self.clip.text))

    def of_texts(self, texts: str | Sequence[str]) -> Tensor:
        """Unit vectors of B texts, (B, P), without gradients. Raises what ``Text.read`` raises."""
        return F.normalize(self.text.read(texts)[2], dim=1)

    def of_pictures(self, x: Tensor) -> Tensor:
        """Unit vectors of pictures (B, K, H, W) in [-1, 1], (B, P), with gradients. Raises what ``CLIP.of_pictures`` raises."""
        return self.clip.of_pictures(x)

    def to(self, device: torch.device) -> "Matcher":
        """Move the network to a device, in place; returns the matcher."""
        self.clip.to(device)
        return self

    def save(self, folder: str | os.PathLike, dtype: torch.dtype | None = None) -> None:
        """Write network and tokenizer, all or nothing; ``dtype`` stores the weights in another type.

        Raises ``ValueError`` for a folder that holds other weights.
        """
        save_pretrained(self.clip, folder, dtype, tokenizer=self.tokenizer)

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "Matcher":
        """Read a folder that ``save`` wrote, in float32 on the CPU; gradients go to pictures, not to the weights.

        Raises ``FileNotFoundError`` when a file is absent and ``ValueError`` when one is damaged, when the tokenizer is another
        one than the weights were saved with, and for a network that is no CLIP.
        """
        clip: Any = from_pretrained(folder)
        expect(isinstance(clip, CLIP), "folder", f"a {type(clip).__name__} in {folder}", "a CLIP")
        return cls(clip.requires_grad_(False), tokenizer_of(folder))

    def __repr__(self) -> str:
        return f"Matcher({described(self.clip)}, {self.text!r})"
