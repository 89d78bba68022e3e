"""Where a route that JupyterHub adds may lead."""

from __future__ import annotations

import pytest

from bascule.configuration.hubroute import read_target
from bascule.configuration.templates import UpstreamAddress

NO_TARGET = (
    "target must be http://host:port, https://host:port or http+unix://%2Fpath%2Fof.sock;"
    " a path may follow, but no query."
)


@pytest.mark.parametrize(
    ("text", "address", "base"),
    [
        ("http://hub", UpstreamAddress("http", "hub", 80, b"hub"), b""),
        ("HTTP://hub", UpstreamAddress("http", "hub", 80, b"hub"), b""),
        ("http://10.0.0.1:8888/", UpstreamAddress("http", "10.0.0.1", 8888, b"10.0.0.1:8888"), b""),
        ("http://hub:80/base/", UpstreamAddress("http", "hub", 80, b"hub"), b"/base"),
        ("https://hub/a/b%20c", UpstreamAddress("https", "hub", 443, b"hub"), b"/a/b%20c"),
        ("https://[::1]:9/x", UpstreamAddress("https", "::1", 9, b"[::1]:9"), b"/x"),
        ("http+unix://%2Fa.sock", UpstreamAddress("http+unix", "/a.sock", 0, b"%2Fa.sock"), b""),
        ("http+unix://%2Fa.sock/b/", UpstreamAddress("http+unix", "/a.sock", 0, b"%2Fa.sock"), b"/b"),
        ("unix+http://%2Fa.sock/b", UpstreamAddress("http+unix", "/a.sock", 0, b"%2Fa.sock"), b"/b"),
    ],
)
def test_a_target_is_an_address_and_a_path(text: str, address: UpstreamAddress, base: bytes) -> None:
    assert read_target(text) == (address, base)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hub:80",
        "//hub",
        "ftp://hub",
        " http://hub",
        "http:///x",
        "http://user@hub",
        "http://hub:0",
        "http://hub:65536",
        "http://{name}:80",
        "http://[fe80::1%25eth0]",
        "http://hub?x",
        "http://hub/x?y",
        "http://hub/x#y",
        "http://hub//b",
        "http://hub/../b",
        "http://hub/é",
        "http://hub/a b",
        "http+unix:///run/a.sock",
        "http+unix://%2Frun%2F{name}.sock",
        "unix:/run/a.sock",
    ],
)
def test_a_target_that_cannot_be_asked_is_refused(text: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the whole text is compared
        read_target(text)

    assert str(refused.value) == NO_TARGET
