"""Every way to condition a network goes through the slots of one object."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import expect, in_range, whole_number
from .sinusoids import sinusoids


@dataclass(frozen=True)
class Condition:
    """What the picture should show. An empty slot means "anything"; a network says which slots it has use for.

    label: (B,) integers 0 ... classes-1; the number ``classes`` itself stands for "no label" in a mixed batch.
    vector: (B, V), one description of the whole picture (SDXL's pooled text and sizes, see ``sdxl_vector``).
    tokens: (B, L, C), a sequence to attend to, such as a text; tokens_mask: (B, L), true where a token is one.
    image: (B, K, H, W), of the same size as x, concatenated to it. hint: (B, K, f*H, f*W), a picture for what stands beside a
    U-Net, see ``Controlled``. residuals: what that adds to the U-Net's skips, and last to its middle. guidance: (B,), the
    scale that a guidance-distilled network imitates.
    Lists and NumPy arrays become tensors. Raises ``ValueError`` for other shapes or types, and for a sample that has no
    token left under its mask.

    ``len`` is the batch, an index takes out of it, and an empty condition is false, so that ``cond or other`` is its default.

    >>> tl.Condition([3, 1, 4])[1:].label
    tensor([1, 4])
    """

    label: Tensor | None = None
    vector: Tensor | None = None
    tokens: Tensor | None = None
    tokens_mask: Tensor | None = None
    image: Tensor | None = None
    residuals: tuple[Tensor, ...] | None = None
    guidance: Tensor | None = None
    hint: Tensor | None = None

    def __post_init__(self) -> None:
        for name, value in self._filled().items():
            object.__setattr__(self, name, _tensors(value) if name == "residuals" else _tensor(name, value))
        _shaped("label", self.label, ("B",), _whole, "integers")
        _shaped("vector", self.vector, ("B", "V"), _real, "real numbers")
        _shaped("tokens", self.tokens, ("B", "L", "C"), _real, "real numbers")
        _shaped("tokens_mask", self.tokens_mask, ("B", "L"), _truth, "booleans")
        _shaped("image", self.image, ("B", "K", "H", "W"), _real, "real numbers")
        _shaped("hint", self.hint, ("B", "K", "H", "W"), _real, "real numbers")
        _shaped("guidance", self.guidance, ("B",), _real, "real numbers")
        if self.tokens_mask is not None:
            tokens = None if self.tokens is None else tuple(self.tokens.shape[:2])
            mask = tuple(self.tokens_mask.shape)
            expect(tokens == mask, "tokens_mask", f"shape {mask}", f"one entry a token, {tokens}")
            looked_at = self.tokens_mask.device.type == "cpu"  # reading an accelerator's memory would stall it
            left = not looked_at or bool(self.tokens_mask.any(1).all())
            expect(left, "tokens_mask", "a sample whose tokens are all masked", "at least one token a sample")

    def __bool__(self) -> bool:
        """Whether any slot is filled."""
        return len(self._filled()) > 0

    def __len__(self) -> int:
        """The batch. Raises ``ValueError`` for an empty condition, and for slots of different batches."""
        batches = [(name, len(t)) for name, value in self._filled().items() for t in _parts(value)]
        expect(len(batches) > 0, "cond", "an empty condition", "a filled slot: without one there is no batch")
        given = ", ".join(f"{batch} in {name}" for name, batch in batches)
        expect(len({batch for _, batch in batches}) == 1, "cond", given, "slots of one batch")
        return batches[0][1]

    def __getitem__(self, index: int | slice | Tensor) -> "Condition":
        """The samples at an index, in all slots: an integer (a batch of 1), a slice, integers (N,), or booleans (B,).

        Raises ``IndexError`` outside the batch, as a list does.
        """
        places = torch.arange(len(self))[index.cpu() if isinstance(index, Tensor) else index]
        expect(places.ndim < 2, "index", f"{places.ndim} dimensions", "a vector of numbers or booleans")
        return self._each(lambda t: t[places.reshape(-1).to(t.device)])

    def repeat(self, n: int) -> "Condition":
        """The batch n times, one after the other: (B, ...) -> (n * B, ...). Raises ``ValueError`` for n < 1."""
        n = whole_number("n", n, 1)
        return self._each(lambda t: torch.cat([t] * n))

    def broadcast(self, batch: int) -> "Condition":
        """One sample's condition for ``batch`` of them, without a copy; one of that batch, or an empty one, as it is.

        Raises ``ValueError`` for any other batch.
        """
        if not self or len(self) == batch:
            return self
        expect(len(self) == 1, "cond", f"a batch of {len(self)}", f"one of {batch}, or of 1 for all")
        return self._each(lambda t: t.expand(batch, *t.shape[1:]))

    def suits(self, batch: int, needed: Mapping[str, int], welcome: Collection[str] = ()) -> None:
        """Check, slot by slot, that a network gets what it needs.

        batch: how many samples every filled slot must speak of. needed: slots that must be filled, and how wide the vectors in
        them are (any number for one that holds none). welcome: slots that may be filled; any other must be empty.
        Raises ``ValueError`` naming the first slot of which this is not true.
        """
        filled = self._filled()
        for name, width in needed.items():
            expect(name in filled, f"cond.{name}", None, "a value: this network has been built to need it")
            given = getattr(self, name)
            expect(given.ndim == 1 or given.shape[-1] == width, f"cond.{name}", f"{given.shape[-1]} wide", f"{width} wide")
        for name, value in filled.items():
            expect(name in {*needed, *welcome}, f"cond.{name}", "a value", "None: this network has no use for it")
            for t in _parts(value):
                expect(len(t) == batch, f"cond.{name}", f"{len(t)} samples", f"one for each of the {batch} samples")

    def _filled(self) -> dict[str, Tensor | tuple[Tensor, ...]]:
        slots = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in slots.items() if value is not None}

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Condition":
        """Every tensor changed in the same way."""
        changed: dict[str, Any] = {
            name: change(value) if isinstance(value, Tensor) else tuple(change(r) for r in value)
            for name, value in self._filled().items()
        }
        return replace(self, **changed)

    def to(self, device: torch.device) -> "Condition":
        """The same condition on another device."""
        return self._each(lambda t: t.to(device))

    def joined(self, other: "Condition") -> "Condition":
        """This batch's condition and another's, one after the other. Shorter texts are padded with tokens that the mask hides.

        Raises ``ValueError`` where one fills a slot that the other leaves empty.
        """
        mine: dict[str, Any] = self._filled()
        theirs: dict[str, Any] = other._filled()
        differ = sorted((mine.keys() ^ theirs.keys()) - {"tokens_mask"})
        expect(not differ, "other", f"{', '.join(differ)} in only one of them", "the same slots filled")
        _align(mine, theirs)
        return Condition(**{name: _one_after_the_other(mine[name], theirs[name]) for name in mine})

    def drop(self, mask: Tensor, null: "int | Condition") -> "Condition":
        """Replace the samples where ``mask`` (B,) is true by ``null``: how a network learns the unconditional case.

        null: a condition, of batch 1 or B, every slot of which takes the place of the same slot here; the others stay. Texts
        are padded as in ``joined``. Or a number, of the labels alone: the number of classes, so that no label of the data can
        be taken for none.
        Raises ``ValueError`` for a mask of another shape or type, a slot that is empty here or of another width, and with a
        number for labels outside 0 ... null - 1 (on the CPU).
        Source: Ho and Salimans, Classifier-Free Diffusion Guidance (2022), section 3.2.
        """
        if not isinstance(null, Condition):
            if self.label is None:
                raise ValueError("label: expected labels to drop, got None")
            in_range("label", self.label, 0, null - 1)
            null = Condition(torch.full_like(self.label, null))
        mine: dict[str, Any] = self._filled()
        theirs: dict[str, Any] = null._filled()
        missing = sorted(theirs.keys() - mine.keys() - {"tokens_mask"})
        expect(not missing, "null", ", ".join(missing), "no slot that is empty here")
        if not theirs:
            return self
        given = f"{mask.dtype} of shape {tuple(mask.shape)}"
        expect(_truth(mask) and mask.shape == (len(self),), "mask", given, f"booleans of shape ({len(self)},)")
        theirs = null.broadcast(len(self))._filled()
        _align(mine, theirs)
        return replace(self, **{name: _replaced(name, mine[name], theirs[name], mask) for name in theirs})


def _parts(value: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The tensors in a slot."""
    return (value,) if isinstance(value, Tensor) else value


def _align(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Pad the texts of both to one length and give them masks, unless they are alike without."""
    both = (mine, theirs)
    if "tokens" not in mine.keys() & theirs.keys():
        return
    lengths = [slots["tokens"].shape[1] for slots in both]
    if lengths[0] != lengths[1] or "tokens_mask" in mine.keys() | theirs.keys():
        for slots in both:
            tokens = slots["tokens"]
            seen = slots.get("tokens_mask", torch.ones_like(tokens[..., 0], dtype=torch.bool))
            slots |= {"tokens": _padded(tokens, max(lengths)), "tokens_mask": _padded(seen, max(lengths))}


def _replaced(name: str, old: Any, new: Any, mask: Tensor) -> Any:
    """``new`` where ``mask`` is true, in the type and place of ``old``."""
    if name == "residuals":
        expect(len(old) == len(new), "null.residuals", f"{len(new)} tensors", f"{len(old)}")
        return tuple(_replaced("residual", *pair, mask) for pair in zip(old, new))
    expect(old.shape == new.shape, f"null.{name}", f"shape {tuple(new.shape)}", f"{tuple(old.shape)}, as here")
    return torch.where(mask.reshape(-1, *(1,) * (old.ndim - 1)).to(old.device), new.to(old), old)


def _one_after_the_other(first: Any, second: Any) -> Any:
    if isinstance(first, Tensor):
        return torch.cat([first, second])
    return tuple(torch.cat(both) for both in zip(first, second, strict=True))


def _padded(x: Tensor, length: int) -> Tensor:
    """(B, L, ...) with zeros up to (B, length, ...)."""
    return torch.cat([x, x.new_zeros(len(x), length - x.shape[1], *x.shape[2:])], dim=1)


def sdxl_vector(pooled: Tensor, time_ids: Tensor, dim: int = 256) -> Tensor:
    """SDXL's vector: the pooled text and six numbers as sinusoids. (B, P), (B, 6) -> (B, P + 6 * dim).

    time_ids: the picture's original height and width, the crop's top and left, the target's height and width, in pixels
    (the refiner takes five: an aesthetic score in place of the last two; any number goes). Implements :eq:`sdxl-vector`.
    Raises ``ValueError`` for other ranks or an odd dim. Source: Podell et al., SDXL (2023), section 2.2.
    """
    _shaped("pooled", pooled, ("B", "P"), _real, "real numbers")
    expect(time_ids.ndim == 2, "time_ids", f"shape {tuple(time_ids.shape)}", "shape (B, 6)")
    expect(len(time_ids) == len(pooled), "time_ids", f"{len(time_ids)} rows", f"{len(pooled)}, like pooled")
    expect(dim > 0 and dim % 2 == 0, "dim", dim, "an even number (half cosines, half sines)")
    flat = time_ids.to(torch.promote_types(pooled.dtype, torch.float32)).flatten()
    return torch.cat([pooled, sinusoids(flat, dim).reshape(len(pooled), -1).to(pooled)], dim=1)


def _tensor(argument: str, value: Any) -> Tensor:
    """A slot's value as a tensor; a tensor stays the one it is."""
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{argument}: expected a tensor or a list of numbers, got {type(value).__name__}") from error


def _tensors(value: Any) -> tuple[Tensor, ...]:
    several = isinstance(value, tuple | list) and all(isinstance(t, Tensor) for t in value)
    expect(several, "residuals", type(value).__name__, "a tuple of tensors, as a ControlNet gives")
    return tuple(value)


def _whole(t: Tensor) -> bool:
    return t.dtype in (torch.int64, torch.int32)


def _truth(t: Tensor) -> bool:
    return t.dtype == torch.bool


def _real(t: Tensor) -> bool:
    return t.is_floating_point()


def _shaped(argument: str, value: Tensor | None, axes: tuple[str, ...], kind: Callable[[Tensor], bool], what: str) -> None:
    """Refuse a tensor of another rank or type, by name."""
    if value is not None:
        given = f"{value.dtype} of shape {tuple(value.shape)}"
        shape = f"({', '.join(axes)}{',' if len(axes) == 1 else ''})"
        expect(kind(value) and value.ndim == len(axes), argument, given, f"{what} of shape {shape}")
