"""The text encoder: a transformer in CLIP's plan, from token numbers to what the network of pictures attends to."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import choose, expect, in_range, whole_number
from .attention import split
from .config import Config

WIDER = 4  # the feed-forward's width over a token's


def quick_gelu(x: Tensor) -> Tensor:
    """x sigmoid(1.702 x), an approximation of GELU that OpenAI's CLIP was trained with. Source: Hendrycks and Gimpel (2016)."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"quick_gelu": quick_gelu, "gelu": F.gelu}


@dataclass(frozen=True)
class TextConfig(Config):
    """vocabulary: how many tokens there are. length: how many a text may have. hidden: the perceptron's width, 4 widths where
    it is 0. projection: the width to which the pooled vector is mapped; 0 for none. end: the token whose first place stands
    for the text; None for the text's largest number, CLIP's own rule, as its end is its last token.
    """

    vocabulary: int
    width: int = 128
    heads: int = 4
    layers: int = 3
    length: int = 16
    hidden: int = 0
    projection: int = 0
    activation: str = "quick_gelu"
    end: int | None = None

    def __post_init__(self) -> None:
        for name in ("vocabulary", "width", "heads", "layers", "length"):
            whole_number(name, getattr(self, name), 1)
        for name in ("hidden", "projection"):
            whole_number(name, getattr(self, name), 0)
        expect(self.width % self.heads == 0, "heads", self.heads, f"a divisor of width={self.width}")
        choose("activation", self.activation, ACTIVATIONS)

    def build(self) -> "TextEncoder":
        """The module, freshly initialised."""
        return TextEncoder(self)


class CausalAttention(nn.Module):
    """Each token looks at itself and at those before it, (B, L, C) -> the same; so what follows the end changes nothing."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (split(layer(x), self.heads).transpose(1, 2) for layer in (self.q, self.k, self.v))
        return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


class TextBlock(nn.Module):
    """Attention, then a perceptron, each after a norm and added to what was there: (B, L, C) -> the same."""

    def __init__(self, width: int, heads: int, hidden: int, activation: str) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = CausalAttention(width, heads)
        self.linear1, self.linear2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.linear2(self.activation(self.linear1(self.norm2(x))))


class TextEncoder(nn.Module):
    """Token numbers (B, L) -> what each token means where it stands, (B, L, C), and one vector of the whole text, (B, P).

    The vector is the end token's, which has seen all words; with ``projection`` a linear map of it. L may be less than the
    configuration's ``length``. Raises ``ValueError`` for longer texts, and on the CPU for numbers that are no tokens.
    Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision (2021), section 2.4, and
    OpenAI's code.

    >>> tokenizer = tl.nn.Tokenizer.learn(["rocket off"])
    >>> tokens, pooled = tl.nn.TextConfig(tokenizer.size).build()(tokenizer(["rocket", "off"]))
    >>> tokens.shape, pooled.shape
    (torch.Size([2, 16, 128]), torch.Size([2, 128]))
    """

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.token = nn.Embedding(config.vocabulary, width)
        self.position = nn.Embedding(config.length, width)
        hidden = config.hidden or WIDER * width
        self.blocks = nn.ModuleList(TextBlock(width, config.heads, hidden, config.activation) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.projection = nn.Linear(width, config.projection, bias=False) if config.projection else nn.Identity()
        self._initialise()

    def _initialise(self) -> None:
        """CLIP's spread: small embeddings, and sums over layers that do not grow with their number."""
        width, deep = self.config.width**-0.5, (2 * self.config.layers) ** -0.5
        spread = {"token": 0.02, "position": 0.01, "linear1": width * 2**-0.5, "linear2": width * deep, "out": width * deep}
        spread |= dict.fromkeys(("q", "k", "v"), width)
        for name, p in self.named_parameters():
            layer, kind = name.split(".")[-2:]
            if kind == "weight" and layer in spread:
                nn.init.normal_(p, std=spread[layer])

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        expect(
            ids.ndim == 2 and not ids.is_floating_point(), "ids", f"{ids.dtype} of shape {tuple(ids.shape)}", "integers (B, L)"
        )
        expect(0 < ids.shape[1] <= self.config.length, "ids", f"{ids.shape[1]} tokens a text", f"1 to {self.config.length}")
        in_range("ids", ids, 0, self.config.vocabulary - 1)
        x = self.token(ids) + self.position.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        at = ids if self.config.end is None else ids == self.config.end
        return x, self.projection(x[torch.arange(len(x), device=x.device), at.int().argmax(1)])
