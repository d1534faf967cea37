"""Text as numbers: byte-pair encoding, learned from the sentences at hand, with a start, an end, and nothing unknown."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..errors import expect, whole_number

BYTES = 256  # the first tokens are the bytes themselves, so that every text has a spelling
PIECES = re.compile(r" ?[^ ]+| +")  # words with the space before them: together they are the text again


@dataclass(frozen=True)
class Tokenizer:
    """Byte-pair encoding: a text is the bytes of its UTF-8 form, of which the commonest neighbours are merged, in turns.

    merges: pairs of tokens, the n-th of which makes token 256 + n; the two tokens after all merges are start and end.
    length: how many tokens an encoded text has, start and end included; the end token fills up what is left, as in CLIP.
    words: those that the tokenizer has learned from, in alphabetical order.
    Source: Sennrich et al., Neural Machine Translation of Rare Words with Subword Units (2016), algorithm 1; over bytes:
    Radford et al., Language Models are Unsupervised Multitask Learners (2019), section 2.2.

    >>> tokenizer = tl.nn.Tokenizer.learn(["rocket off", "rocket outline"], merges=20)
    >>> tokenizer.decode(tokenizer.encode("a rocket off, 50 % on"))
    'a rocket off, 50 % on'
    """

    merges: tuple[tuple[int, int], ...] = ()
    length: int = 16
    words: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        whole_number("length", self.length, 3)
        for n, (left, right) in enumerate(self.merges):
            expect(min(left, right) >= 0 and max(left, right) < BYTES + n, "merges", (left, right), f"tokens below {BYTES + n}")

    @classmethod
    def learn(cls, texts: Iterable[str], merges: int = 512, length: int = 16) -> "Tokenizer":
        """Merge the commonest pair of neighbours, ``merges`` times or until none occurs twice; ties go to the first in order."""
        merges = whole_number("merges", merges, 0)
        counts = Counter(piece for text in texts for piece in PIECES.findall(text))
        spelled = {piece: list(piece.encode()) for piece in counts}
        pairs = Counter[tuple[int, int]]()  # how often each pair of neighbours occurs; kept up to date, as counting anew is slow
        for piece, tokens in spelled.items():
            for pair in pairwise(tokens):
                pairs[pair] += counts[piece]
        found: list[tuple[int, int]] = []
        while len(found) < merges and pairs:
            best = min(pairs, key=lambda pair: (-pairs[pair], pair))
            if pairs[best] < 2:
                break
            for piece, tokens in spelled.items():
                merged = _merged(tokens, best, BYTES + len(found)) if best[0] in tokens else tokens
                if len(merged) < len(tokens):
                    pairs.subtract({pair: n * counts[piece] for pair, n in Counter(pairwise(tokens)).items()})
                    pairs.update({pair: n * counts[piece] for pair, n in Counter(pairwise(merged)).items()})
                    spelled[piece] = merged
            found.append(best)
        return cls(tuple(found), length, tuple(sorted({piece.strip(" ") for piece in counts} - {""})))

    @property
    def start(self) -> int:
        return BYTES + len(self.merges)

    @property
    def end(self) -> int:
        return self.start + 1

    @property
    def size(self) -> int:
        """How many tokens there are."""
        return self.end + 1

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, without start and end."""
        return [token for piece in PIECES.findall(text) for token in self._spell(piece)]

    def _spell(self, piece: str) -> list[int]:
        tokens = list(piece.encode())
        while pairs := [pair for pair in pairwise(tokens) if pair in self._order]:
            first = min(pairs, key=self._order.__getitem__)  # merges are made in the order in which they were learned
            tokens = _merged(tokens, first, BYTES + self._order[first])
        return tokens

    @cached_property
    def _order(self) -> dict[tuple[int, int], int]:
        return {pair: n for n, pair in enumerate(self.merges)}

    def decode(self, tokens: Sequence[int] | Tensor) -> str:
        """The text of tokens; start and end are left out. Raises ``ValueError`` for a number that is no token."""
        inside = [int(token) for token in tokens]
        wrong = [token for token in inside if not 0 <= token < self.size]
        expect(not wrong, "tokens", wrong[:5], f"numbers from 0 to {self.size - 1}")
        return b"".join(self._bytes(token) for token in inside).decode(errors="replace")

    def _bytes(self, token: int) -> bytes:
        if token < BYTES:
            return bytes([token])
        return b"" if token >= self.start else b"".join(map(self._bytes, self.merges[token - BYTES]))

    def unknown(self, text: str) -> list[str]:
        """The words of a text that the tokenizer has not learned from: it can spell them, a network cannot know them."""
        known = set(self.words)
        return [word for word in text.split(" ") if word and word not in known]

    def __call__(self, texts: str | Sequence[str]) -> Tensor:
        """One text or B of them as (B, length) integers. Raises ``ValueError`` for a text with more tokens than fit."""
        texts = [texts] if isinstance(texts, str) else texts
        several = isinstance(texts, list | tuple) and len(texts) > 0 and all(isinstance(text, str) for text in texts)
        expect(several, "texts", repr(texts)[:80], "a text, or a list of texts")
        room = self.length - 2
        rows = []
        for text in texts:
            tokens = self.encode(text)
            fits = len(tokens) <= room
            expect(fits, "texts", f"{len(tokens)} tokens in {text!r}", f"at most {room}: up to {self._beginning(tokens, room)!r}")
            rows.append([self.start, *tokens, *[self.end] * (room - len(tokens) + 1)])
        return torch.tensor(rows)

    def _beginning(self, tokens: list[int], room: int) -> str:
        return self.decode(tokens[:room])

    def mask(self, ids: Tensor) -> Tensor:
        """Which of the tokens (B, L) say something: all up to the first end token, (B, L) bool."""
        ended = (ids == self.end).long().cumsum(1)
        return (ended - (ids == self.end).long()) == 0

    @property
    def digest(self) -> str:
        """Tells one tokenizer from another: 16 hexadecimal digits of a hash of its fields."""
        return sha256(json.dumps(self.as_dict()).encode()).hexdigest()[:16]

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Tokenizer":
        """The reverse of ``as_dict``. Raises ``ValueError`` for fields that a tokenizer does not have."""
        expect(values.keys() == {"merges", "length", "words"}, "tokenizer", sorted(values), "merges, length and words")
        merges = tuple((int(left), int(right)) for left, right in values["merges"])
        return cls(merges, int(values["length"]), tuple(values["words"]))


def _merged(tokens: list[int], pair: tuple[int, int], made: int) -> list[int]:
    """The tokens with every occurrence of a pair, from the left, replaced by the one that is made of it."""
    result: list[int] = []
    for token in tokens:
        if result and (result[-1], token) == pair:
            result[-1] = made
        else:
            result.append(token)
    return result
