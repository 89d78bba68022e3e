"""The short answer a browser or a program gets when we answer instead of the upstream.

HTML for clients that ask for HTML by name (browsers that navigate), problem details (RFC
9457) for all other plain requests, and text for upgrades, whose answers browsers do not show.

Rules of this file: pure functions; every word is our own and escaped all the same; nothing
of the request is repeated.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from html import escape
from http import HTTPStatus
from typing import Final

__all__ = ["accept_in", "error_page", "reason_phrase"]

_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}

_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{status} {title}</title>{refresh}
<style>:root{{color-scheme:light dark}}
body{{font:1rem/1.5 system-ui,sans-serif;margin:15vh auto;max-width:32rem;padding:0 1rem}}
h1{{font-size:1.4rem}}p{{color:#555}}
@media(prefers-color-scheme:dark){{body{{background:#10161a;color:#e6ecef}}p{{color:#95a4ad}}}}</style></head>
<body><h1>{status} {title}</h1><p>{detail}</p>{again}</body></html>
"""
_PASSING: Final = frozenset((502, 503, 504))
"""Statuses that may pass in a moment: a page that reloads while its app restarts must not stay an error."""

_AGAIN_AFTER: Final = 5
"""Seconds after which the page of such an error reloads itself."""

_REFRESH: Final = f'<meta http-equiv="refresh" content="{_AGAIN_AFTER}">'
_AGAIN: Final = f"<p>This page tries again every {_AGAIN_AFTER} seconds.</p>"

_COMMON_FIELDS: Final = ((b"Cache-Control", b"no-store"), (b"X-Content-Type-Options", b"nosniff"))
_POLICY: Final = (b"Content-Security-Policy", b"default-src 'none'; style-src 'unsafe-inline'")

_ACCEPT: Final = re.compile(rb"\naccept:([^\r\n]*)", re.IGNORECASE)


def reason_phrase(status: int) -> str:
    """Return the registered reason phrase of a status, or an empty text."""
    return _REASONS.get(status, "")


def accept_in(head: bytes) -> bytes:
    """Return what a head says in ``Accept``, even if the head is malformed, or not whole."""
    return b",".join(_ACCEPT.findall(head))


def _prefers_html(accept: bytes) -> bool:
    """Return whether ``Accept`` names HTML, with a weight above 0 and not below JSON's."""
    html = json_weight = -1.0
    for entry in accept.lower().split(b","):
        media, _, parameters = entry.partition(b";")
        media = media.strip(b" \t")
        if media in (b"text/html", b"application/xhtml+xml"):
            html = max(html, _weight(parameters))
        elif media in (b"application/json", b"application/problem+json"):
            json_weight = max(json_weight, _weight(parameters))
    return html > 0 and html >= json_weight


def _weight(parameters: bytes) -> float:
    for parameter in parameters.split(b";"):
        name, _, value = parameter.strip(b" \t").partition(b"=")
        if name == b"q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0


def error_page(
    status: int, detail: str, accept: bytes | None
) -> tuple[tuple[tuple[bytes, bytes], ...], bytes]:
    """Return the fields and the body of an error answer.

    Args:
        status: The status code.
        detail: One sentence of ours.
        accept: What the client says in ``Accept``; ``None`` for an upgrade.
    """
    if accept is None:
        text = (b"Content-Type", b"text/plain; charset=utf-8")
        return (text, *_COMMON_FIELDS), detail.encode() + b"\n"
    return _page(status, detail, _prefers_html(accept))


@lru_cache(maxsize=128)
def _page(status: int, detail: str, html: bool) -> tuple[tuple[tuple[bytes, bytes], ...], bytes]:
    title = reason_phrase(status)
    if html:
        content_type = b"text/html; charset=utf-8"
        refresh, again = (_REFRESH, _AGAIN) if status in _PASSING else ("", "")
        body = _PAGE.format(
            status=status, title=escape(title), detail=escape(detail), refresh=refresh, again=again
        ).encode()
    else:
        content_type = b"application/problem+json"
        body = json.dumps({"status": status, "title": title, "detail": detail}).encode() + b"\n"
    return ((b"Content-Type", content_type), *_COMMON_FIELDS, _POLICY), body
