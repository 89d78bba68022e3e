"""The key of the login cookie: whether it is long enough to be a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bascule.configuration.namedfile import read_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bascule.configuration.auth import Algorithm, SessionAuth

__all__ = ["short_key"]

_LEAST: Final[dict[Algorithm, int]] = {"HS256": 32, "HS384": 48, "HS512": 64}
"""Fewest bytes of a key: as many as of the hash (RFC 7518 §3.2)."""


def short_key(auth: SessionAuth) -> Iterator[str]:
    """Yield a line if the key is shorter than it must be; nothing if it cannot be read, or is empty.

    Whoever has one token can try keys out, at home and without end.
    """
    if auth.key_file is None:
        return
    try:
        length = len(read_file(auth.key_file).strip())
    except OSError:
        return  # an error, which whoever uses it tells
    algorithm = max(auth.algorithms, key=_LEAST.__getitem__)
    if 0 < length < (least := _LEAST[algorithm]):
        found = f"{length} {'byte is' if length == 1 else 'bytes are'} few for {algorithm}"
        why = "whoever has one token can try out short ones"
        yield f"auth.session.keyFile: {found}, whose key must have {least} (RFC 7518 §3.2): {why}"
