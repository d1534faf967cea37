"""A data set that fits in memory: named tensors with one length."""

from collections.abc import Mapping

from torch import Tensor
from torch.utils.data import Dataset

from ..errors import expect


class InMemory(Dataset):
    """Named tensors (N, ...). An integer gives one example, a tensor of indices a batch, both as dictionaries."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        lengths = {name: len(tensor) for name, tensor in tensors.items()}
        expect(len(set(lengths.values())) == 1, "tensors", lengths, "at least one tensor, and one common length")
        self.tensors = dict(tensors)

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, index: int | Tensor) -> dict[str, Tensor]:
        return {name: tensor[index] for name, tensor in self.tensors.items()}
