"""Rows in columns."""

from hypothesis import given
from hypothesis import strategies as st

from bascule.operate.table import table


def test_columns_are_as_wide_as_their_widest_cell_and_numbers_stand_at_the_right() -> None:
    assert table(("NAME", ">COUNT", "LAST"), [("a", 12345, "x"), ("longer", 7, None)]) == (
        "NAME    COUNT  LAST\n"
        "a       12345  x\n"
        "longer      7  -\n"
    )  # fmt: skip


def test_without_rows_there_are_the_heads() -> None:
    assert table(("A", ">B"), []) == "A  B\n"


@given(st.lists(st.tuples(st.text(), st.integers()), max_size=5))
def test_whatever_a_stranger_is_called_each_row_is_one_printable_line(rows: list[tuple[str, int]]) -> None:
    lines = table(("NAME", ">COUNT"), rows).split("\n")

    assert len(lines) == len(rows) + 2
    assert all(line.isprintable() for line in lines)
