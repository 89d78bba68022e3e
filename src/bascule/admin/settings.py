"""The configuration in force, value by value, with where each came from and without secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bascule.policy.config import Config

MASK: Final = "(set)"
_SECRET_KEYS: Final = frozenset({"adminToken"})
"""Keys whose value is a secret. Keys named ``…File`` hold a path, which is none."""


def configuration(config: Config, sources: Mapping[str, str]) -> list[dict[str, object]]:
    """List every value as ``{"key", "value", "source"}`` in the order of the models.

    Args:
        config: The configuration.
        sources: Dotted key path → source. A list's entries have the source of the list.
    """
    return [
        {"key": key, "value": _masked(key, value), "source": _source(key, sources)}
        for key, value in _flatten("", config.model_dump(mode="json", by_alias=True))
    ]


def _flatten(prefix: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flatten(f"{prefix}.{name}" if prefix else str(name), inner)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, inner in enumerate(value):
            yield from _flatten(f"{prefix}.{index}", inner)
    else:
        yield prefix, value


def _masked(key: str, value: object) -> object:
    if key.rpartition(".")[2] in _SECRET_KEYS:
        return MASK if value is not None else None
    return value


def _source(key: str, sources: Mapping[str, str]) -> str:
    while key:
        if key in sources:
            return sources[key]
        key = key.rpartition(".")[0]
    return "default"
