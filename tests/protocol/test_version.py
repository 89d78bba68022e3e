"""Versions: which a parser is shown in place of which."""

from __future__ import annotations

import pytest

from bascule.protocol.version import with_known_version

REST = b"\r\nHost: a\r\n\r\n"
LINE = b"GET /x?HTTP/1.9 HTTP/"


@pytest.mark.parametrize("minor", range(2, 10))
def test_for_a_later_minor_version_a_parser_is_shown_ours(minor: int) -> None:
    assert with_known_version(LINE + b"1.%d" % minor + REST) == LINE + b"1.1" + REST


@pytest.mark.parametrize(
    "version", [b"1.0", b"1.1", b"1.10", b"1.01", b"2.0", b"0.9", b"1.", b"1.2 ", b"1.x", b"11.2", b"1,2"]
)
def test_any_other_is_shown_as_it_is(version: bytes) -> None:
    assert with_known_version(LINE + version + REST) == LINE + version + REST


@pytest.mark.parametrize(
    "head", [b"", b"\r\n", b"GET / HTTP/1.2", b"GET / HTTP/1.2\n\r\n", b"HTTP/1.2\r\n\r\n"]
)
def test_what_is_no_first_line_is_shown_as_it_is(head: bytes) -> None:
    assert with_known_version(head) == head
