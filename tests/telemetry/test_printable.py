"""Peers' texts are made safe to print (attack 89)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.telemetry.printable import printable


@pytest.mark.parametrize("text", ["", "10.1.2.3", "Zoë Müller", "日本語 テスト", "emoji 🎉", "back\\slash"])
def test_harmless_text_passes_as_the_same_object(text: str) -> None:
    assert printable(text, 100) is text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\r\nlevel=error forged", "a\\r\\nlevel=error forged"),
        ("\x1b[2J\x1b[31mred", "\\x1b[2J\\x1b[31mred"),
        ("line\u2028separator\u2029", "line\\u2028separator\\u2029"),
        ("abc\u202etxt.exe", "abc\\u202etxt.exe"),
        ("nul\0tab\t\x7f\x85\x9b", "nul\\x00tab\\t\\x7f\\x85\\x9b"),
        ("lone \udc80 surrogate", "lone \\udc80 surrogate"),
        ("é\\n\n", "é\\n\\n"),
        (b"bytes \xff\xfe and \xc3\xa9", "bytes \\xff\\xfe and é"),
    ],
)
def test_what_would_harm_a_reader_is_escaped(text: str | bytes, shown: str) -> None:
    assert printable(text, 100) == shown


def test_long_text_is_cut_and_says_so() -> None:
    assert printable("x" * 11, 10) == "x" * 10 + "…"
    assert printable("x" * 10, 10) == "x" * 10
    assert printable(b"\xf0\x9f\x8e\x89" * 1_000_000, 10) == "🎉" * 10 + "…"


@given(st.text() | st.binary(), st.integers(0, 50))
def test_the_result_is_printable_and_bounded(text: str | bytes, limit: int) -> None:
    shown = printable(text, limit)

    assert shown.isprintable()
    assert len(shown) <= 10 * limit + 1
    shown.encode("utf-8")
