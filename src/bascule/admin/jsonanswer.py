"""An answer in JSON, as all APIs of this package give it: never kept by a cache."""

from __future__ import annotations

import json

from aiohttp import web

__all__ = ["json_answer", "json_text"]


def json_answer(body: object, *, status: int = 200, fields: dict[str, str] | None = None) -> web.Response:
    """Return an answer in JSON that no cache keeps and no browser takes for anything else.

    Args:
        body: What `json` can write.
        status: The answer's status.
        fields: Other header fields.
    """
    return json_text(json.dumps(body), status=status, fields=fields)


def json_text(text: str, *, status: int = 200, fields: dict[str, str] | None = None) -> web.Response:
    """Return what is JSON already as an answer; else like `json_answer`."""
    return web.Response(
        status=status,
        body=text.encode(),
        content_type="application/json",
        headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **(fields or {})},
    )
