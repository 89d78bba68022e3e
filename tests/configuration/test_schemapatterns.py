"""The patterns of the published schemas: never stricter than the parsers, and hardly looser."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from bascule.configuration.durations import Duration, PositiveDuration
from bascule.configuration.endpoints import Network, Origin
from bascule.configuration.hub import HubTarget
from bascule.configuration.route import RoutePath
from bascule.configuration.schemapatterns import (
    DURATION,
    MORE_THAN_NOTHING,
    NETWORK,
    ORIGIN,
    PATH,
    TARGET,
    UPSTREAM,
)
from bascule.configuration.templates import UpstreamTemplate

if TYPE_CHECKING:
    from collections.abc import Callable

WHERE = {"x": "[0-9]+", "port": "[0-9]{5}"}
PIECES = [
    "http://", "https://", "HTTP://", "http+unix://", "unix+http://", "{x}", "{port}", "{", "}", "/", "//",
    ".", "..", ":", ":0", ":80", ":443", ":65535", ":65536", "[::1]", "[", "]", "a", "A", "-", "_", "lab",
    "%2F", "%2f", "%2E", "%7E", "%zz", "%25", "%5C", "%00", "*", ";", "?", "#", "@", "\\", "é", " ", "~",
    "10.0.0.0", "10.0.0.1", "/8", "/32", "/33", "::", "fe80::", "/129", "/128", "0", "5", "00", "1.5", "ms",
    "s", "m", "h", "d", "!", '"', "|",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)


def upstream(text: str) -> str:
    UpstreamTemplate.parse(text, WHERE)
    return text


PARSERS: dict[str, Callable[[str], object]] = {
    PATH: TypeAdapter(RoutePath).validate_python,
    UPSTREAM: upstream,
    TARGET: TypeAdapter(HubTarget).validate_python,
    ORIGIN: TypeAdapter(Origin).validate_python,
    NETWORK: TypeAdapter(Network).validate_python,
    DURATION: TypeAdapter(Duration).validate_python,
    MORE_THAN_NOTHING: TypeAdapter(PositiveDuration).validate_python,
}


def is_taken(pattern: str, text: str) -> bool:
    try:
        PARSERS[pattern](text)
    except (ValidationError, ValueError):
        return False
    return True


@pytest.mark.parametrize("pattern", PARSERS, ids=[*map(str, range(len(PARSERS)))])
@given(text=TEXTS | st.text(st.characters(codec="ascii"), max_size=8))
@example(text="/hopsworks-api/jupyter/{port}/")
@example(text="http://{x}.apps.svc:{port}/")
@example(text="http+unix://%2Frun%2Fapp.sock")
@example(text="https://[2001:db8::1]:8443")
@example(text="2001:db8::/32")
@example(text="10.0.0.0/255.0.0.0")
@example(text="0.5ms")
@settings(max_examples=400, deadline=None)
def test_what_a_parser_takes_the_pattern_takes(pattern: str, text: str) -> None:
    if text == text.strip() and is_taken(pattern, text):
        assert re.search(pattern, text)


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        (PATH, ["", "a", "//", "/a//b", "/.", "/a/..", "/%2e%2E/", "/a*", "/a{x}", "/{X}", "/a;b", "/a b",
                "/é", "/a%2Fb", "/a%zz", "/a%5c", "/a\\b", "/a?b", "/a#b"]),
        (UPSTREAM, ["h", "h:80", "ftp://h", "http://", "http://h/x", "http://u@h", "http://h:0",
                    "http://h:65536", "http://a..b", "http://-a", "http://[zz]", "http://[::1", "http://::1:80",
                    "http://a{x", "http+unix://run", "http+unix://%2Frun%2F{x}"]),
        (TARGET, ["http://{x}", "http://h?x", "http://h:99999/", "http://h/é"]),
        (ORIGIN, ["https://A", "https://a/", "https://a:65536", "https://a:0", "https://-", "a", "**"]),
        (NETWORK, ["a", "10.0.0", "300.0.0.0", "10.0.0.0/33", "::/129", "10.0.0.0/", ""]),
        (DURATION, ["", "5 s", "5d", "-5s", ".5s", "5.s", "1,5s", "s"]),
        (MORE_THAN_NOTHING, ["0s", "0.0h", "00ms"]),
    ],
    ids=["path", "upstream", "target", "origin", "network", "duration", "more than nothing"],
)  # fmt: skip
def test_what_people_get_wrong_the_pattern_refuses(pattern: str, texts: list[str]) -> None:
    for text in texts:
        assert not is_taken(pattern, text), text
        assert not re.search(pattern, text), text
