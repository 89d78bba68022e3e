"""A configuration as text: what `bascule config print` shows.

The text is a configuration file again: every value, with its source as a comment.
Loading it gives the same configuration, unless a secret was masked.

Rules of this file: pure; no secret is ever printed, not even its length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bascule.configuration.allowed import is_secret
from bascule.configuration.yamltext import yaml_scalar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bascule.configuration.config import Config

__all__ = ["MASK", "masked", "print_config"]

MASK: Final = "(set)"
"""Stands for every secret, whatever its length."""


def masked(config: Config) -> dict[str, object]:
    """Return the configuration as plain values, keys as in files, without secrets."""
    values = config.model_dump(mode="json")
    return {key: _mask((key,), value) for key, value in values.items()}


def print_config(config: Config, sources: Mapping[str, str] | None = None) -> str:
    """Write a configuration as YAML, without secrets.

    Args:
        config: The configuration.
        sources: Dotted key path → source, written behind each value; ``None`` writes none.
    """
    return "".join(f"{line}\n" for line in _block("", masked(config), sources or {}))


def _mask(path: tuple[str | int, ...], value: object) -> object:
    if isinstance(value, dict):
        return {key: _mask((*path, key), inner) for key, inner in value.items()}
    return MASK if value is not None and is_secret(path) else value


def _block(above: str, values: Mapping[str, object], sources: Mapping[str, str]) -> Iterator[str]:
    indent = "  " * above.count(".")
    for key, value in values.items():
        path = f"{above}{key}"
        source = f"  # {sources[path]}" if path in sources else ""
        if isinstance(value, dict):
            yield f"{indent}{key}:"
            yield from _block(f"{path}.", value, sources)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            yield f"{indent}{key}:{source}"
            for item in value:
                yield from _item(item)
        else:
            yield f"{indent}{key}: {yaml_scalar(value)}{source}"


def _item(values: Mapping[str, object]) -> Iterator[str]:
    for place, (key, value) in enumerate(values.items()):
        yield f"{'    ' if place else '  - '}{key}: {yaml_scalar(value)}"
