"""What every network configuration can do: check its channel counts, travel as a dictionary."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from ..errors import choose, expect
from ..runtime import reseeded


@dataclass(frozen=True)
class Config:
    """Base of the frozen configuration of a network; ``.build()`` of a subclass makes the module."""

    def build(self) -> Any:
        """The module, freshly initialised."""
        raise NotImplementedError

    def seeded(self, seed: int) -> Any:
        """The module that ``build`` makes, initialised from this seed; the global generator stays as it was."""
        with reseeded(seed):
            return self.build()

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The reverse of ``as_dict``. Raises ``ValueError`` for a field that does not exist."""
        known = {field.name: field for field in fields(cls)}
        for name in values:
            choose("config field", name, known)
        return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})


def check_channels(channels: tuple[int, ...], blocks: int, groups: int) -> None:
    """Refuse level widths that GroupNorm cannot split into ``groups``, and networks without levels or blocks."""
    expect(len(channels) > 0, "channels", channels, "at least one level")
    expect(blocks >= 1, "blocks", blocks, "at least 1 residual block a level")
    for width in channels:
        expect(width > 0 and width % groups == 0, "channels", channels, f"multiples of groups={groups}")
