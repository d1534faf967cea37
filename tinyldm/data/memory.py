"""A data set that fits in memory: named columns with one length."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import expect


class InMemory(Dataset):
    """Named columns, tensors (N, ...) or lists of N sentences. An integer gives one example, indices a batch, as dictionaries.

    classes: what the numbers in the column "label" mean; empty where no one has named them.
    Raises ``ValueError`` for no column, or columns of different lengths.
    """

    def __init__(self, tensors: Mapping[str, Tensor | Sequence[str]], classes: Sequence[str] = ()) -> None:
        lengths = {name: len(column) for name, column in tensors.items()}
        expect(len(set(lengths.values())) == 1, "tensors", lengths, "at least one tensor, and one common length")
        self.tensors: dict[str, Any] = dict(tensors)
        self.classes = list(classes)

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, index: int | slice | Tensor) -> dict[str, Any]:
        return {name: _take(column, index) for name, column in self.tensors.items()}

    def __repr__(self) -> str:
        columns = [f"{name} {_kind(column)}" for name, column in self.tensors.items()]
        named = [f"{len(self.classes)} classes: {', '.join(self.classes)}"] if self.classes else []
        return f"InMemory({'; '.join(columns + named)})"


def _kind(column: Any) -> str:
    if isinstance(column, Tensor):
        return f"{str(column.dtype).removeprefix('torch.')} {tuple(column.shape)}"
    return f"{type(column).__name__} ({len(column)},)"


def _take(column: Any, index: int | slice | Tensor) -> Any:
    """What a tensor gives at an index, for lists too."""
    if isinstance(column, Tensor):
        return column[index]
    places = torch.arange(len(column))[index].tolist()
    return column[places] if isinstance(places, int) else [column[i] for i in places]
