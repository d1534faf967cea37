"""A data set that fits in memory: named columns with one length."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import expect


class InMemory(Dataset):
    """Named columns, tensors (N, ...) or lists of N sentences. An integer gives one example, indices a batch, as dictionaries."""

    def __init__(self, tensors: Mapping[str, Tensor | Sequence[str]]) -> None:
        lengths = {name: len(column) for name, column in tensors.items()}
        expect(len(set(lengths.values())) == 1, "tensors", lengths, "at least one tensor, and one common length")
        self.tensors: dict[str, Any] = dict(tensors)

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, index: int | slice | Tensor) -> dict[str, Any]:
        return {name: _take(column, index) for name, column in self.tensors.items()}


def _take(column: Any, index: int | slice | Tensor) -> Any:
    """What a tensor gives at an index, for lists too."""
    if isinstance(column, Tensor):
        return column[index]
    places = torch.arange(len(column))[index].tolist()
    return column[places] if isinstance(places, int) else [column[i] for i in places]
