"""Where an upstream whose prefix is stripped sends a browser (``Location``, RFC 9110 §10.2.2).

Such an upstream believes that it is at the root: its ``/login`` is the browser's ``/apps/demo/login``. The
prefix is put in front of

* a path;
* a URL of the upstream's own address, such as ``http://demo.svc:8501/login``, which no browser could reach;
* a URL of the host that was asked, if it is the page that was asked but for a slash at its end: so redirect
  Starlette (FastAPI) and Werkzeug (Flask).

Everything else stays as it is: what is in the prefix already, since its upstream reads
``X-Forwarded-Prefix``; relative references; and URLs, of the host that was asked too, by which an application
leads elsewhere, for example to its platform's login. Other fields stay, too: ``Content-Location`` and
``Refresh`` are hardly used, and a cookie whose ``Path`` is ``/`` reaches its application below a prefix as
well.

Rules of this file: pure; nothing is decoded or resolved, the prefix is put in front and that is all.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from bascule.policy.fieldlines import Fields
    from bascule.policy.routes import Match

__all__ = ["inside_prefix", "kept_inside"]

_URL: Final = re.compile(
    rb"(?P<scheme>https?):(?P<root>//(?P<host>[^/?#\\]*))(?P<rest>.*)", re.IGNORECASE | re.DOTALL
)
_PATH_END: Final = re.compile(rb"[?#]")
_OWN_PORT: Final = {b"http": b":80", b"https": b":443"}


def inside_prefix(location: bytes, prefix: bytes, *, upstream: bytes, host: bytes, target: bytes) -> bytes:
    """Return what a browser is to be told in the place of ``location``.

    Args:
        location: As the upstream said it.
        prefix: What is in front of the upstream's paths as browsers see them; no slash at its end.
        upstream: The upstream's address, ``host[:port]`` as in a URL.
        host: The ``Host`` that the upstream was sent.
        target: The request-target that the upstream was sent.
    """
    if location.startswith(b"/"):
        # Two slashes begin a host (RFC 3986 §4.2), and so they do for browsers if one is a backslash: that
        # one is no path of the upstream's, but in front of it the prefix does no harm.
        is_path = not location.startswith(b"//")
        return prefix + location if is_path and not _is_inside(location, prefix) else location
    if (url := _URL.fullmatch(location)) is None:
        return location
    rest = url["rest"] if url["rest"].startswith(b"/") else b"/" + url["rest"]
    own_port = _OWN_PORT[url["scheme"].lower()]
    authority = url["host"].lower().removesuffix(own_port)
    if authority == upstream.lower():
        return rest if _is_inside(rest, prefix) else prefix + rest
    path, asked = _path(rest), _path(target)
    if authority == host.lower().removesuffix(own_port) and (path == asked + b"/" or asked == path + b"/"):
        return url["scheme"] + b":" + url["root"] + prefix + rest
    return location


def kept_inside(fields: Fields, match: Match, prefix: bytes, host: bytes) -> list[tuple[bytes, bytes]]:
    """Return an answer's fields with what becomes of ``Location``.

    Only a prefix that the configuration strips is put in: JupyterHub's servers know where they are.

    Args:
        fields: The answer's.
        match: Where the request led.
        prefix: The ``X-Forwarded-Prefix`` that the upstream was sent; it begins with what a proxy in front of
            us stripped.
        host: See `inside_prefix`.
    """
    if not match.prefix or match.hub_route is not None:
        return list(fields)
    upstream, target = match.upstream.authority, match.target
    return [
        (name, inside_prefix(value, prefix, upstream=upstream, host=host, target=target))
        if name.lower() == b"location"
        else (name, value)
        for name, value in fields
    ]


def _path(reference: bytes) -> bytes:
    return _PATH_END.split(reference, maxsplit=1)[0]


def _is_inside(reference: bytes, prefix: bytes) -> bool:
    return (_path(reference) + b"/").startswith(prefix + b"/")
