"""Field lines of a message as they came: in order, each line for itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

__all__ = ["Fields", "values_of", "with_host"]

Fields: TypeAlias = Sequence[tuple[bytes, bytes]]
"""Field lines in the order they were sent: name as sent, value without outer white space."""


def values_of(fields: Fields, name: bytes) -> list[bytes]:
    """Return the values of all lines of one field; ``name`` in lower case."""
    return [value for key, value in fields if key.lower() == name]


def with_host(fields: Fields, host: bytes) -> list[tuple[bytes, bytes]]:
    """Return the fields with another ``Host``: that of a target which names one (RFC 9112 §3.2.2)."""
    return [(b"Host", host), *(field for field in fields if field[0].lower() != b"host")]
