"""Methods: which a parser is shown in place of which."""

from __future__ import annotations

import pytest

from bascule.protocol.method import with_known_method

REST = b" /x?GET y HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"]
)
def test_a_common_method_is_shown_as_it_is(method: str) -> None:
    head = method.encode() + REST
    assert with_known_method(head) == (head, None)


@pytest.mark.parametrize(
    "method",
    ["PROPFIND", "MKCOL", "REPORT", "QUERY", "VERSION-CONTROL", "BAN", "PRI", "POST2", "!#$%&'*+-.^_`|~"],
)
def test_for_any_other_token_in_capitals_a_parser_is_shown_a_common_one(method: str) -> None:
    assert with_known_method(method.encode() + REST) == (b"POST" + REST, method)


@pytest.mark.parametrize(
    "start",
    [b"", b"G(T", b"G\xc3\x84T", b"G\tT", b"G:T", b"\x16\x03\x01", b"get", b"Trace", b"PROPFINd"],
)
def test_what_is_no_token_or_is_one_to_some_servers_only_is_left_to_the_parser(start: bytes) -> None:
    assert with_known_method(start + REST) == (start + REST, None)
    assert with_known_method(start) == (start, None)
