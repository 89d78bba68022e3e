"""Regular expressions for the published JSON schemas: what an editor and Helm can tell without Python.

Each admits all that the parser of its type admits, but for white space around it, and little else; the parser
has the last word. A test holds the two together.

Rules of this file: only what the engines of Go, JavaScript and Python have in common, so no look-ahead.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "ASCII",
    "DURATION",
    "MORE_THAN_NOTHING",
    "NETWORK",
    "ORIGIN",
    "PATH",
    "PEER",
    "TARGET",
    "UPSTREAM",
]

_NAME: Final = r"\{[a-z][a-z0-9_]*\}"
_PORT: Final = "0*([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_ESCAPE: Final = "%([013-46-9A-Fa-f][0-9A-Fa-f]|2[0-24678A-Da-d9]|3[0-9ACDEacde]|5[0-9ABDEFabdef])"
"""Of any byte but ``#``, ``%``, ``.``, ``/``, ``;``, ``?`` and a backslash."""
_DOT: Final = r"(\.|%2[Ee])"
_OTHER: Final = rf"([!$&-)+,0-:<->@-\[\]^-z|~\x22-]|{_ESCAPE})"
_SEGMENT: Final = f"({_DOT}{{0,2}}{_OTHER}|{_DOT}{{3}})({_DOT}|{_OTHER})*"
"""Of a path: neither empty nor ``.`` nor ``..``."""

PATH: Final = f"^/(({_NAME}|{_SEGMENT})(/({_NAME}|{_SEGMENT}))*/?)?$"
"""Of a route."""


def _host(name: str) -> str:
    """Return the pattern of a host, in which ``name`` may stand for letters of a label."""
    end = f"([A-Za-z0-9_]{name})"
    label = f"{end}(([A-Za-z0-9_-]{name})*{end})?"
    return rf"(\[[0-9A-Fa-f:.]+\]|{label}(\.{label})*\.?)"


_HTTP: Final = "[Hh][Tt][Tt][Pp][Ss]?"
_SOCKET: Final = "%2[Ff]([A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*"

UPSTREAM: Final = f"^({_HTTP}://{_host(f'|{_NAME}')}(:({_PORT}|{_NAME}))?|http\\+unix://{_SOCKET})/?$"
"""Of a route."""

TARGET: Final = (
    f"^({_HTTP}://{_host('')}(:{_PORT})?|(http\\+unix|unix\\+http)://{_SOCKET})(/[!-\\x22$->@-~]*)?$"
)
"""A URL with a path, of JupyterHub's pages."""

ORIGIN: Final = (
    rf"^(\*|https?://([a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\])(:{_PORT.removeprefix('0*')})?)$"
)

PEER: Final = rf"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]*):{_PORT}$"

_OCTET: Final = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4: Final = rf"{_OCTET}(\.{_OCTET}){{3}}"
NETWORK: Final = (
    rf"^({_IPV4}(/(0?[0-9]|[12][0-9]|3[0-2]|{_IPV4}))?"
    r"|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(%[^%/]+)?(/(0*[0-9]{1,2}|1[01][0-9]|12[0-8]))?)$"
)

DURATION: Final = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$"
MORE_THAN_NOTHING: Final = r"^(0*[1-9][0-9]*(\.[0-9]+)?|0+\.0*[1-9][0-9]*)(ms|s|m|h)$"
"""A duration other than 0."""

ASCII: Final = r"^[\x00-\x7F]*$"
