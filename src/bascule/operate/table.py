"""Rows in columns.

Rules of this file: what a stranger wrote (a user's name, a route's) cannot reach the terminal unescaped.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Final

from bascule.telemetry.printable import escaped

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["table"]

_BETWEEN: Final = "  "


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return lines with columns of equal width; ``None`` is shown as ``-``.

    A column is aligned to the right if its head begins with ``>``, which is not shown.

    Args:
        heads: One for each column.
        rows: As many cells each.
    """
    cells = [[head.removeprefix(">") for head in heads]]
    cells += [["-" if cell is None else escaped(str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip_longest(*cells, fillvalue="")]
    right = [head.startswith(">") for head in heads]
    return "".join(
        _BETWEEN.join(
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, right, strict=True)
        ).rstrip()
        + "\n"
        for row in cells
    )
