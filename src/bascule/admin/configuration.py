"""The configuration in force, value by value, with where each came from and without secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bascule.configuration.printing import masked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bascule.configuration.config import Config

__all__ = ["configuration"]


def configuration(config: Config, sources: Mapping[str, str]) -> list[dict[str, object]]:
    """List every value as ``{"key", "value", "source"}`` in the order of the models.

    Args:
        config: The configuration.
        sources: Dotted key path → source. A key that is not in it has the source of the nearest one above.
    """
    return [
        {"key": key, "value": value, "source": _source(key, sources)}
        for key, value in _flatten("", masked(config))
    ]


def _flatten(prefix: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flatten(f"{prefix}.{name}" if prefix else str(name), inner)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, inner in enumerate(value):
            yield from _flatten(f"{prefix}[{index}]", inner)
    else:
        yield prefix, value


def _source(key: str, sources: Mapping[str, str]) -> str:
    while key:
        if key in sources:
            return sources[key]
        key = key[: max(key.rfind("."), key.rfind("["), 0)]
    return "default"
