"""What is wrong with a configuration, one line for each problem.

A line is ``where: key: found X; allowed: Y``: the file and line, the environment variable or
the command line; the full path of the key; the value found; the values allowed. For an unknown
key the line names the nearest known one: of the same block, or, for a key in the wrong block, of any.

Rules of this file: pydantic's own texts are never shown; secrets are never shown.
"""

from __future__ import annotations

import difflib
import json
import re
from functools import cache
from typing import TYPE_CHECKING, Final

from bascule.configuration.allowed import allowed_at, is_secret, schema_at
from bascule.configuration.config import Config
from bascule.configuration.model import blocks, leaves
from bascule.configuration.route import RouteConfig
from bascule.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic_core import ErrorDetails

__all__ = [
    "Mistake",
    "Path",
    "Problems",
    "dotted",
    "folded",
    "nearest",
    "nearest_key",
    "problems_of",
    "refusal",
]

Path = tuple[str | int, ...]
_LONGEST_SHOWN: Final = 60
_LEAST_PART: Final = 6
"""Letters from which a part of a key's name says which key was meant."""

_SECRET_OF_URL: Final = re.compile(r"(?<=://)[^/?#\s]*@|(?<=\?).+", re.DOTALL)
"""Where people paste a URL, its password and its token come along: ``http://ada:pw@host/lab?token=…``."""


class Mistake:
    """One thing to correct.

    Attributes:
        path: The key.
        text: What is wrong with it, without where it stands.
    """

    __slots__ = ("path", "text")

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.text = text


class Problems:
    """Collects a line for each problem.

    Attributes:
        lines: The problems so far.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, where: str, problem: Mistake) -> None:
        """Add a mistake of a key.

        Args:
            where: The place of the key, such as ``bascule.yaml:7``.
            problem: The mistake.
        """
        self.lines.append(": ".join(part for part in (where, dotted(problem.path), problem.text) if part))

    def stop(self) -> None:
        """Go no further if there are problems.

        Raises:
            ConfigError: There are some; carries all of them.
        """
        if self.lines:
            raise ConfigError(self.lines)


def dotted(path: Iterable[str | int]) -> str:
    """Write a key path: ``routes[0].where.app``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


def problems_of(errors: Iterable[ErrorDetails]) -> Iterator[Mistake]:
    """Translate what pydantic found."""
    for error in errors:
        path: Path = tuple(error["loc"])
        context = error.get("ctx", {})
        match error["type"]:
            case "bascule":
                if "key" in context:
                    path += tuple(str(context["key"]).split("."))
                yield _misfit(path, context.get("found", error["input"]), str(context["allowed"]))
            case "inconsistent":
                for found in context["problems"]:
                    yield _misfit(found.path, found.found, found.allowed)
            case "extra_forbidden":
                yield _unknown_key(path)
            case "missing":
                yield _missing(path, allowed_at(path))
            case _:
                yield refusal(path, error["input"], allowed_at(path))


def refusal(path: Path, found: object, allowed: str) -> Mistake:
    """Say that a value is not accepted."""
    return Mistake(path, f"found {_shown(path, found)}; allowed: {allowed}")


def _misfit(path: Path, found: object, allowed: str) -> Mistake:
    """Say that a value does not fit others: one that is null was left out, or might as well have been."""
    return _missing(path, allowed) if found is None else refusal(path, found, allowed)


def _missing(path: Path, needed: str) -> Mistake:
    return Mistake(path, f"missing; needed: {needed}")


def _unknown_key(path: Path) -> Mistake:
    """Say that a key does not exist, and which one may have been meant."""
    suggestion = nearest_key(path)
    return Mistake(path, "unknown key" + (f'; did you mean "{suggestion}"?' if suggestion else ""))


def nearest_key(path: Path) -> str | None:
    """Return the known key that a misspelt one is nearest to.

    Args:
        path: The unknown key.

    Returns:
        A key of the same block; else the full path of one elsewhere; ``None`` if
        nothing is near.
    """
    *above, last = path
    wanted = folded(str(last))
    schema = schema_at(tuple(above))
    properties = schema.get("properties") if schema else None
    siblings = {folded(key): key for key in properties} if isinstance(properties, dict) else {}
    return (
        nearest(wanted, siblings, 0.8)
        or _only_longer(wanted, siblings)
        or _only_longer(wanted, _known())
        or nearest(wanted, siblings, 0.6)
        or nearest(wanted, _known(), 0.8)
    )


def _only_longer(wanted: str, known: dict[str, str]) -> str | None:
    """Return the one key whose name contains ``wanted``, as of ``idleTimeout``; ``None`` if several do."""
    found = {key for name, key in known.items() if wanted in name}
    return found.pop() if len(found) == 1 and len(wanted) >= _LEAST_PART else None


def nearest(wanted: str, known: dict[str, str], likeness: float) -> str | None:
    """Return the value of the folded key nearest to ``wanted``, itself folded; ``None`` if none is near."""
    near = difflib.get_close_matches(wanted, known, n=1, cutoff=likeness)
    return known[near[0]] if near else None


@cache
def _known() -> dict[str, str]:
    """Last part of every key, and its whole path → that path. Of several with one name the first wins."""
    found: dict[str, str] = {}
    paths = [path for path, _ in leaves(Config)] + [path for path, _, _ in blocks(Config)]
    paths += [("routes[]", *path) for path, _ in leaves(RouteConfig)]
    for path in paths:
        found.setdefault(folded(path[-1]), dotted(path))
        found.setdefault(folded("".join(path)), dotted(path))  # written as log_level
    return found


def folded(key: str) -> str:
    """Return a key without the differences in spelling that people make: capitals, hyphens, underscores."""
    return key.lower().replace("_", "").replace("-", "")


def _shown(path: Path, value: object) -> str:
    if value is not None and is_secret(path):
        return "an empty secret" if value == "" else "a secret"
    if isinstance(value, dict):
        return "a block of keys" if value else "{}"
    if isinstance(value, (list, tuple)):
        return "a list" if value else "[]"
    if value is None or isinstance(value, (bool, int, float)):
        text = json.dumps(value) if not isinstance(value, int) or abs(value) < 10**30 else "a huge number"
    else:
        said = str(value)
        if "://" in said:
            said = _SECRET_OF_URL.sub(lambda found: "***@" if found[0].endswith("@") else "***", said)
        text = json.dumps(said, ensure_ascii=True)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"
