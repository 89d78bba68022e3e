"""`bascule sessions`: what `GET /sessions` says, a line for each session or for who holds them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from bascule.operate.table import table
from bascule.operate.units import age, size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Row = Mapping[str, Any]

__all__ = ["COUNTED", "ORDERS", "counts_text", "sessions_text"]

ORDERS: Final[dict[str, Callable[[Row], Any]]] = {
    "id": lambda row: (len(row["id"]), row["id"]),  # hexadecimal numbers, in the order they were given
    "age": lambda row: -row["age"],
    "idle": lambda row: -row["idle"],
    "in": lambda row: -row["bytesIn"],
    "out": lambda row: -row["bytesOut"],
    "user": lambda row: row["user"] or "",
    "route": lambda row: row["route"],
}
"""Name of an order → the key that sorts so."""

COUNTED: Final = ("user", "client", "route", "kind", "upstream")
"""What `counts_text` can count by."""


def sessions_text(rows: Sequence[Row]) -> str:
    """Write a line for each session, and how long the browser took to answer a ping where one has."""
    shown: dict[str, Callable[[Row], object]] = {
        "ID": lambda row: row["id"],
        "ROUTE": lambda row: row["route"],
        "KIND": lambda row: row["kind"],
        "USER": lambda row: row["user"],
        "CLIENT": lambda row: row["client"],
        "UPSTREAM": lambda row: row["upstream"],
        ">AGE": lambda row: age(row["age"]),
        ">IDLE": lambda row: age(row["idle"]),
        ">IN": lambda row: size(row["bytesIn"]),
        ">OUT": lambda row: size(row["bytesOut"]),
    }
    if any(row["roundTrip"] is not None for row in rows):
        shown[">ROUND TRIP"] = lambda row: _milliseconds(row["roundTrip"])
    return table(tuple(shown), ([cell(row) for cell in shown.values()] for row in rows))


def counts_text(rows: Sequence[Row], by: str) -> str:
    """Write who holds how many, most first.

    Args:
        rows: The sessions.
        by: One of `COUNTED`.
    """
    return table((by.upper(), ">SESSIONS"), Counter(row[by] for row in rows).most_common())


def _milliseconds(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds * 1000:.1f} ms"
