"""Unix sockets as they are written, and what no socket can be."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.configuration.socketpath import check_socket_path, socket_host, socket_path

if TYPE_CHECKING:
    from pathlib import Path

LONGEST = "/" + 106 * "s"


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("%2Frun%2Fapp.sock", "/run/app.sock"),
        ("%2frun%2fapp.sock", "/run/app.sock"),
        ("%2Frun%2FApp%20One.sock", "/run/App One.sock"),
        ("%2Frun%2Fcaf%C3%A9.sock", "/run/café.sock"),
        (socket_host(LONGEST), LONGEST),
    ],
)
def test_a_host_is_the_path_with_escaped_slashes(host: str, path: str) -> None:
    assert socket_path(host) == path


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("", 'each "/" as "%2F"'),
        ("run", 'each "/" as "%2F"'),
        ("run%2Fapp.sock", 'each "/" as "%2F"'),
        ("%2Frun%2", 'each "/" as "%2F"'),
        ("%2Frun%2Fcafé", 'each "/" as "%2F"'),
        ("%2Frun/app.sock", 'each "/" as "%2F"'),
        ("%2Frun%2Fapp.sock:80", 'each "/" as "%2F"'),
        ("%2Frun%2Fapp.sock?x", 'each "/" as "%2F"'),
        ("%2F", "the whole path"),
        ("%2Frun%2F", "the whole path"),
        ("%2Frun%2Fa%00b", "without control characters"),
        ("%2Frun%2Fa%0Ab", "without control characters"),
        ("%2Frun%2Fa%FF", "in UTF-8"),
        ("%2Frun%2F{app}.sock", 'without "{name}"'),
        ("%2Frun%2Fapp}.sock", 'without "{name}"'),
        (socket_host(LONGEST + "s"), "at most 107 bytes, the kernel's bound; it has 108"),
        (socket_host("/" + 53 * "é" + "s"), "it has 108"),
    ],
)
def test_a_host_that_is_the_path_of_no_socket_is_refused(host: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        socket_path(host)

    assert reason in str(caught.value)


@pytest.mark.parametrize("path", ["app.sock", "", "./app.sock", "/run/"])
def test_a_path_is_absolute_and_a_files(path: str) -> None:
    with pytest.raises(ValueError, match="the whole path"):
        check_socket_path(path)


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=25).map(lambda name: f"/run/{name}s"))
def test_every_path_survives_being_a_host(path: str) -> None:
    assert socket_path(socket_host(path)) == path


def test_the_longest_path_is_the_kernels(socket_folder: Path) -> None:
    path = f"{socket_folder}/{(106 - len(str(socket_folder))) * 's'}"
    assert check_socket_path(path) == path
    with socket.socket(socket.AF_UNIX) as fits, socket.socket(socket.AF_UNIX) as does_not:
        fits.bind(path)
        with pytest.raises(OSError, match="too long"):
            does_not.bind(f"{path}s")
