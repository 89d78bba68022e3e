"""A configuration file: our own, or a values file of the Hopsworks chart.

Such a values file is accepted as it is: the five keys below ``hopsworks.payara.websocketProxy`` are read, and
the other keys belong to other programs.

Rules of this file: what cannot be used is a problem with its place; nothing is raised.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from bascule.configuration.config import Config
from bascule.configuration.layers import Layer
from bascule.configuration.model import blocks
from bascule.configuration.problems import Mistake, folded, nearest
from bascule.configuration.yamltext import YamlProblem, parse_yaml

if TYPE_CHECKING:
    from pathlib import Path

    from bascule.configuration.problems import Problems

__all__ = ["file_layer"]

_MOST_BYTES: Final = 4 * 2**20
"""Largest configuration file, some 60,000 routes: a log or a data set that is given by mistake must neither
take minutes nor all memory."""
_HOPSWORKS: Final = ("hopsworks", "payara", "websocketProxy")
_ANYBODYS: Final = frozenset({"admin", "auth", "capacity", "drain", "log", "metrics", "readiness"})
"""Keys that a platform's values file may use for a chart or a setting of its own, so we ignore them there.
That is safe even if one was meant for us: `admin` stays on the loopback, and no login works without a key."""

_MISSPELT: Final = 0.9
"""Likeness (difflib) from which a key of a platform's file counts as a misspelling of one in `_HOPSWORKS`."""


def file_layer(path: Path, problems: Problems) -> Layer:
    """Return what a file says, and add what is wrong with it to the problems."""
    shown = str(path)
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
        if len(raw) > _MOST_BYTES:
            problems.lines.append(f"{shown}: the file is too large; allowed: {_MOST_BYTES >> 20} MiB")
            return Layer("file", {}, lambda _: shown)
        document = parse_yaml(raw)
    except OSError as error:
        problems.lines.append(f"{shown}: the file cannot be read: {os.strerror(error.errno or 0)}")
        return Layer("file", {}, lambda _: shown)
    except YamlProblem as error:
        problems.lines.append(f"{shown}:{error.line}:{error.column}: {error.what}")
        return Layer("file", {}, lambda _: shown)
    above: tuple[str, ...] = ()
    data: object = {} if document.data is None else document.data
    if isinstance(data, dict) and "hopsworks" in data:
        data, above = _hopsworks(data, shown, problems), _HOPSWORKS[:-1]
    if not isinstance(data, dict):
        problems.lines.append(f"{shown}:1: the file must be a block of keys")
        data = {}
    _drop_empty_blocks(data)
    return Layer("file", data, lambda key: f"{shown}:{document.line_of((*above, *key))}")


def _hopsworks(data: dict[str, object], shown: str, problems: Problems) -> dict[str, object]:
    """Take the five keys out of a values file of the Hopsworks chart."""
    for key in (field.alias for field in Config.model_fields.values()):
        if key in data and key not in _ANYBODYS:  # a mixed file: our own keys in it would be ignored silently
            text = "put Bascule's own keys into a second file; this one is a Hopsworks values file"
            problems.add(shown, Mistake((key,), text))
    inner: object = data
    for depth, step in enumerate(_HOPSWORKS):
        if not isinstance(inner, dict):
            return {}
        misspelt = _misspelling(step, inner)
        if misspelt is not None:
            # Other programs' keys are not ours to check, but a misspelt one of ours would be lost silently.
            problems.add(
                shown, Mistake((*_HOPSWORKS[:depth], misspelt), f'unknown key; did you mean "{step}"?')
            )
        inner = inner.get(step)
    return {} if inner is None else {"websocketProxy": inner}


def _misspelling(key: str, block: dict[str, object]) -> str | None:
    """Return a key of a block that was probably meant as ``key``.

    It is nearly the same; or, if the block has ``key`` as well, it differs only in capitals, hyphens and
    underscores.
    """
    others = {folded(str(each)): str(each) for each in block if each != key}
    return nearest(folded(key), others, 1.0 if key in block else _MISSPELT)


def _drop_empty_blocks(data: dict[str, object]) -> None:
    """Read ``limits:`` with nothing below it as a block without keys, as people mean it."""
    for path, _, _ in blocks(Config):
        inner: object = data
        for step in path[:-1]:
            inner = inner.get(step) if isinstance(inner, dict) else None
        if isinstance(inner, dict) and path[-1] in inner and inner[path[-1]] is None:
            del inner[path[-1]]
