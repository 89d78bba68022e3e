"""The proxy's own login cookie: find it among a browser's cookies, and remove it from what goes upstream.

Both functions read ``Cookie`` in the same way (RFC 6265 §4.2.1 and §5.4), so no cookie can be accepted
as a credential by one and passed on by the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["cookie_value", "without_cookie"]


def cookie_value(fields: Iterable[bytes], name: bytes) -> bytes | None:
    """Return the first cookie of that name.

    Args:
        fields: The values of all ``Cookie`` fields.
        name: The cookie's name; case counts.
    """
    for field in fields:
        for pair in field.split(b";"):
            if _name(pair) == name and b"=" in pair:
                return pair.partition(b"=")[2].strip(b" \t")
    return None


def without_cookie(fields: Sequence[tuple[bytes, bytes]], name: bytes) -> list[tuple[bytes, bytes]]:
    """Return a request's fields with every cookie of that name taken out; the others keep bytes and order."""
    kept: list[tuple[bytes, bytes]] = []
    for field in fields:
        if field[0].lower() == b"cookie" and name in field[1]:
            pairs = [pair for pair in field[1].split(b";") if _name(pair) != name]
            if not pairs:
                continue
            field = (field[0], b";".join(pairs).lstrip(b" \t"))
        kept.append(field)
    return kept


def _name(pair: bytes) -> bytes:
    return pair.partition(b"=")[0].strip(b" \t")
