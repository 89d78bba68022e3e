"""The sources of a configuration, one laid over the other: which says what, and where a key was set.

Rules of this file: it knows neither files nor variables. A later layer wins key by key; a list is
a single value, so it replaces that of an earlier one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bascule.configuration.config import Config
from bascule.configuration.model import Block, KeyPath, blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bascule.configuration.problems import Path

__all__ = ["Layer", "given_layer", "merge", "place_of", "put", "source_of"]


@dataclass(frozen=True, slots=True)
class Layer:
    """What one source says.

    Attributes:
        source: ``default``, ``file``, ``environment`` or ``flag``.
        data: Its keys, as a file would have them.
        where: Key → where it stands, as a problem names it: ``bascule.yaml:7``.
    """

    source: str
    data: dict[str, object]
    where: Callable[[Path], str]


def given_layer(source: str, values: Mapping[str, object], where: Callable[[Path], str]) -> Layer:
    """Return the layer of values by dotted key path."""
    data: dict[str, object] = {}
    for key, value in values.items():
        put(data, tuple(key.split(".")), value)
    return Layer(source, data, where)


def put(data: dict[str, object], path: KeyPath, value: object) -> None:
    """Set a key, and the blocks that it is in."""
    for step in path[:-1]:
        inner = data.setdefault(step, {})
        assert isinstance(inner, dict)  # paths are those of leaves: no leaf lies above another
        data = inner
    data[path[-1]] = value


def merge(into: dict[str, object], data: Mapping[str, object], model: type[Block] = Config) -> None:
    """Lay a source over those before it: blocks key by key, everything else as a whole."""
    inner_blocks = {path[0]: block for path, block, _ in blocks(model) if len(path) == 1}
    for key, value in data.items():
        if key in inner_blocks and isinstance(value, dict):
            below = into.get(key)
            if not isinstance(below, dict):
                below = into[key] = {}
            merge(below, value, inner_blocks[key])
        else:
            into[key] = value


def source_of(layers: Sequence[Layer], path: KeyPath) -> str:
    """Return the source that wins for a key, ``default`` if none sets it."""
    return next((layer.source for layer in reversed(layers) if _holds(layer, path)), "default")


def place_of(layers: Sequence[Layer], path: Path) -> str:
    """Return where a key was set, or else the nearest key above it; empty if none was."""
    # The lists of several layers are not merged: the last one replaces the others.
    items = next((place for place, step in enumerate(path) if isinstance(step, int)), len(path))
    if items < len(path):
        layers = [layer for layer in layers if _holds(layer, path[:items])][-1:] or layers
    for length in range(len(path), 0, -1):
        for layer in reversed(layers):
            if _holds(layer, path[:length]):
                return layer.where(path)
    return ""


def _holds(layer: Layer, path: Path) -> bool:
    inner: Any = layer.data
    for step in path:
        try:
            inner = inner[step]
        except (KeyError, IndexError, TypeError):
            return False
    return True
