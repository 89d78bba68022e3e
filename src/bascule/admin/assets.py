"""The files that browsers load: read once, served with a validator and a strict policy.

Rules of this file: only the files listed here exist, whatever the path says; no
page of ours loads anything from elsewhere, runs inline script or can be framed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.resources.abc import Traversable

__all__ = ["PAGE_FIELDS", "Asset", "admin_folder", "load", "load_page"]

_TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

_FOR_GOOD: Final = "public, max-age=31536000, immutable"

PAGE_FIELDS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""Sent with every answer of the admin listener."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, ready to be sent.

    Attributes:
        body: Its bytes.
        content_type: The value of Content-Type.
        tag: Entity tag, with its quotes.
    """

    body: bytes
    content_type: str
    tag: str

    def response(self, request: web.BaseRequest, *, max_age: int) -> web.Response:
        """Answer with the file, or with 304 when the browser has it.

        Args:
            request: The request.
            max_age: Seconds for which the browser need not ask again.
        """
        # With the version in its query an address has only one content, so browsers may keep that for good.
        pinned = request.query.get("v") == self.tag.strip('"')
        fields = {
            "ETag": self.tag,
            "Cache-Control": _FOR_GOOD if pinned else f"public, max-age={max_age}",
            "X-Content-Type-Options": "nosniff",
        }
        if self._is_known_to(request):
            return web.Response(status=304, headers=fields)
        return web.Response(body=self.body, headers={**fields, "Content-Type": self.content_type})

    def _is_known_to(self, request: web.BaseRequest) -> bool:
        """Tell whether the browser has it, by the weak comparison (RFC 9110 §13.1.2)."""
        if request.headers.get("If-None-Match") == "*":
            return True
        return any(known.value == self.tag.strip('"') for known in request.if_none_match or ())


def load(folder: Traversable, name: str) -> Asset:
    """Read one file of a folder.

    Raises:
        FileNotFoundError: It is not there: the installation is incomplete.
    """
    body = folder.joinpath(name).read_bytes()
    suffix = "." + name.rpartition(".")[2]
    return Asset(body, _TYPES[suffix], f'"{hashlib.sha256(body).hexdigest()[:16]}"')


def load_page(folder: Traversable, name: str, parts: Mapping[str, Asset]) -> Asset:
    """Read a page and pin the version of every part it loads (``src`` and ``href`` of ``static/NAME``)."""
    text = load(folder, name).body.decode()
    for part, asset in parts.items():
        version = asset.tag.strip('"')
        text = text.replace(f'static/{part}"', f'static/{part}?v={version}"')
    body = text.encode()
    return Asset(body, _TYPES[".html"], f'"{hashlib.sha256(body).hexdigest()[:16]}"')


def admin_folder() -> Traversable:
    """Return the folder of the admin listener's files."""
    return files("bascule.admin") / "static"
