"""Floor 2. Every way to condition a network goes through the slots of one object."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import expect


@dataclass(frozen=True)
class Condition:
    """What the picture should show. An empty slot means "anything".

    label: (B,) integers 0 ... classes-1; the number ``classes`` itself stands for "no label" in a mixed batch.
    Raises ``ValueError`` for labels that are not a vector of integers.
    """

    label: Tensor | None = None

    def __post_init__(self) -> None:
        if self.label is not None:
            whole = self.label.dtype in (torch.int64, torch.int32)
            expect(
                whole and self.label.ndim == 1,
                "label",
                f"{self.label.dtype} of shape {tuple(self.label.shape)}",
                "integers of shape (B,)",
            )

    def to(self, device: torch.device) -> "Condition":
        """The same condition on another device."""
        return Condition(None if self.label is None else self.label.to(device))

    def drop(self, mask: Tensor, null: int) -> "Condition":
        """Replace the labels where ``mask`` (B,) is true by ``null``: how a network learns the unconditional case.

        Source: Ho and Salimans, Classifier-Free Diffusion Guidance (2022), section 3.2.
        """
        if self.label is None:
            raise ValueError("label: expected labels to drop, got None")
        return Condition(torch.where(mask, torch.full_like(self.label, null), self.label))
