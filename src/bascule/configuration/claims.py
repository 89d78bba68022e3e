"""What a route demands of the claims of a login's token, beyond the token being valid.

A demand is a claim's name and the values of which it must have one. A value may hold a ``{name}`` of the
route's path: what a request's path has there, decoded. Everything is compared as text, code point by code
point: no case is folded and nothing is normalised, so two spellings are two users.

* What a name stands for is taken from the segment that the route matched, never from the path anew. That
  segment has no escaped slash, backslash, semicolon or percent sign (`bascule.configuration.templates`), so
  decoding it once is final.
* A segment that is not UTF-8 is nobody's name.
* A host name has no case: ``/user/Ada/`` would lead to the host of ``ada``. So a name that is part of the
  upstream's host fulfils nothing unless it is in lower case.
* Two names in one value have a slash between them, which no segment contains: ``{a}-{b}`` could be read in
  two ways.

Rules of this file: pure; no error repeats what a token or a path contains.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote_to_bytes

from bascule.configuration.templates import BRACED

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["ClaimTemplate", "Demand", "first_unmet"]

_ADJACENT: Final = re.compile(r"\}[^/]*\{")


class Demand(NamedTuple):
    """What one request must show.

    Attributes:
        claim: The claim's name.
        values: It must have one of these; with none of them nobody passes.
    """

    claim: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClaimTemplate:
    """A demand whose values may hold names of the path.

    Attributes:
        claim: The claim's name.
        values: Texts with ``{name}``.
    """

    claim: str
    values: tuple[str, ...]

    @classmethod
    def parse(cls, claim: str, values: tuple[str, ...], names: Collection[str]) -> ClaimTemplate:
        """Read a demand of the configuration.

        Args:
            claim: The claim's name.
            values: The values, of which one suffices.
            names: What the path captures.

        Raises:
            ValueError: A brace belongs to no name of the path, or two names could be confused; says what is
                allowed.
        """
        for value in values:
            for name in BRACED.findall(value):
                if name not in names:
                    raise ValueError(f"names that the path captures; {{{name}}} is none")
            if set("{}") & set(BRACED.sub("", value)):
                raise ValueError('braces only as a "{name}" that the path captures')
            if _ADJACENT.search(value):
                raise ValueError('a "/" between two names, or the value could be read in two ways')
        return cls(claim, values)

    def fill(self, captured: Mapping[str, bytes], in_host: Collection[str]) -> Demand:
        """Put in what a request's path has.

        Args:
            captured: Name → segment in its normal reading (`bascule.protocol.path`).
            in_host: The names that are part of the upstream's host.
        """
        texts = {name: _text(segment, name in in_host) for name, segment in captured.items()}
        filled = []
        for value in self.values:
            names = BRACED.findall(value)
            if all(texts[name] is not None for name in names):
                filled.append(BRACED.sub(lambda found: str(texts[found[1]]), value))
        return Demand(self.claim, tuple(filled))


def first_unmet(demands: Collection[Demand], claims: Mapping[str, object]) -> str | None:
    """Return the name of the first claim that is not as demanded; ``None`` if all are.

    A list meets a demand if one of its members does. Text, whole numbers and booleans are compared, the two
    last as JSON writes them; nothing else meets a demand, for there is more than one way to write it.

    Args:
        demands: What the route demands.
        claims: Those of a token whose signature has been checked.
    """
    for claim, values in demands:
        found = claims.get(claim)
        members = found if isinstance(found, list) else [found]
        if not any(_shown(member) in values for member in members):
            return claim
    return None


def _text(segment: bytes, in_host: bool) -> str | None:
    """Return what a segment says; ``None`` if that can be nobody's name."""
    try:
        text = unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        return None
    return None if in_host and text != text.lower() else text


def _shown(value: object) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else None
