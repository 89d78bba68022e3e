"""Unix domain sockets, by the path of their file.

There are two spellings, each the one that is known where it stands. Where to go is a URL, and for a socket it
is the one that Jupyter servers print and JupyterHub writes: ``http+unix://%2Frun%2Fapp.sock``, the path as
its host, with slashes escaped. Where to listen is none, and there it is ``unix:/run/app.sock``, as in nginx.

Rules of this file: pure, no file is looked at; `ValueError` carries a text for the operator.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote

__all__ = ["SOCKET_ALLOWED", "UNIX_PEER", "UNIX_SCHEME", "check_socket_path", "socket_host", "socket_path"]

UNIX_SCHEME: Final = "http+unix"
"""Scheme of a URL whose host is the path of a socket."""

UNIX_PEER: Final = "unix:"
"""Stands for the address of whoever connects to a Unix socket."""

SOCKET_ALLOWED: Final = '"http+unix://%2Frun%2Fapp.sock"'
"""A URL of a socket, for error messages."""

_LONGEST: Final = 107
"""Bytes of a path: ``sun_path`` of <linux/un.h> has 108, and one is for the end."""

_HOST: Final = re.compile(r"%2[Ff](?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*", re.ASCII)
"""What a host may be made of (``reg-name`` of RFC 3986 §3.2.2): a bare ``/``, ``:`` or ``?`` ends it."""

_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f]")


def check_socket_path(path: str) -> str:
    """Return the path of a socket, if a socket can have it.

    Raises:
        ValueError: It is not absolute, is a directory's, too long for the kernel, or cannot be shown.
    """
    if not path.startswith("/") or path.endswith("/"):
        raise ValueError('the whole path of a socket, from "/" on')
    if _UNPRINTABLE.search(path) or not _is_text(path):
        raise ValueError("a path of a socket in UTF-8, without control characters")
    if (size := len(path.encode())) > _LONGEST:
        raise ValueError(f"a path of a socket of at most {_LONGEST} bytes, the kernel's bound; it has {size}")
    return path


def socket_path(host: str) -> str:
    """Return the path that is the host of a URL.

    Args:
        host: Between ``//`` and what follows it: ``%2Frun%2Fapp.sock``.

    Raises:
        ValueError: It is none. A ``{name}`` is not filled in: nothing from a URL may choose a file.
    """
    if "{" in host or "}" in host:
        raise ValueError('the path of a socket without "{name}": a URL must not choose a file')
    if not _HOST.fullmatch(host):
        raise ValueError(f'the path of a socket with each "/" as "%2F": {SOCKET_ALLOWED}')
    return check_socket_path(unquote(host, errors="surrogateescape"))


def socket_host(path: str) -> str:
    """Return a path as the host of a URL; the opposite of `socket_path`."""
    return quote(path, safe="")


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
