"""What there is to know about one kind of network as others keep it: one record, for names and for configurations."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = tuple[str, str, str]  # one module: our name, diffusers', CompVis' ("" where that layout has none)


@dataclass(frozen=True)
class Family:
    """rows: a configuration -> its modules in every layout. leaves: by layout and class of our module, our name inside it
    -> theirs. readers: by diffusers' class, its configuration -> ours. write: a configuration -> diffusers', or None where
    diffusers has no words for it. facts: options that say how to use the network, not which one it is. prefix: where a file
    of a whole CompVis model keeps the network. shapes: a configuration -> the shapes of those tensors that diffusers keeps
    in another one.
    """

    rows: Callable[[Any], Iterable[Row]]
    leaves: Mapping[str, Mapping[str, Mapping[str, str]]]
    readers: Mapping[str, Callable[[Mapping[str, Any]], Any]]
    write: Callable[[Any], dict[str, Any] | None]
    facts: Sequence[str]
    prefix: str = ""
    shapes: Callable[[Any], Mapping[str, tuple[int, ...]]] = field(default=lambda config: {})
