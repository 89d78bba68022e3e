"""Errors of the admin API as problem details (RFC 9457).

Rules of this file: a detail never repeats what the caller sent, beyond the name of
a parameter; every error of the admin listener, also the framework's own, leaves as
``application/problem+json``, except those of `/metrics`, whose texts are the pool's.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from traceback import format_tb
from typing import TYPE_CHECKING, Final

import structlog
from aiohttp import web

from bascule.admin.view import Retired
from bascule.errors import BasculeError
from bascule.telemetry.printable import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.typedefs import Handler

__all__ = ["CONTENT_TYPE", "Problem", "ask_again", "check_parameters", "of_framework", "problems"]

_log = structlog.get_logger()

CONTENT_TYPE: Final = "application/problem+json"

_METHOD_LIMIT: Final = 32
"""Characters of a method that are repeated; IANA's longest has 17."""

_DETAILS: Final = {
    404: "There is nothing at this path; /openapi.json lists what there is.",
    405: "This path does not support the method.",
    417: "Nothing but 100-continue can be expected.",
}
"""What we say of an error of the framework."""


class Problem(BasculeError):
    """An answer of the admin API other than success.

    Attributes:
        status: HTTP status code.
        detail: One sentence for the person who called.
        parameter: Name of the parameter that is wrong, if one is.
        fields: Extra response fields.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        parameter: str | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {detail}")
        self.status = status
        self.detail = detail
        self.parameter = parameter
        self.fields = dict(fields or {})

    def response(self) -> web.Response:
        """Render the problem."""
        body: dict[str, object] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        if self.parameter is not None:
            body["parameter"] = self.parameter
        answer = web.Response(
            status=self.status,
            body=json.dumps(body).encode(),
            headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store", **self.fields},
        )
        if self.status == 408:
            answer.force_close()  # RFC 9110 §15.5.9: we do not wait for the rest of the request
        return answer


def ask_again(error: Exception) -> Problem:
    """Return the problem that says why routes cannot be changed just now."""
    detail = (
        "Another gateway is about to take over. Try again."
        if isinstance(error, Retired)
        else "There is not enough memory just now. Try again."
    )
    return Problem(503, detail, fields={"Retry-After": "1"})


def check_parameters(query: Mapping[str, str], known: frozenset[str]) -> None:
    """Refuse parameters that a call does not know, so that a misspelt one is not taken for an absent one.

    And those that are given twice, of which the second would count for nothing.

    Raises:
        Problem: 400, naming the parameter.
    """
    names = [name for name, _ in query.items()]  # aiohttp's own keys leave out the second of two
    for name in names:
        if name not in known:
            raise Problem(400, "There is no such parameter; /openapi.json lists them.", parameter=name)
        if names.count(name) > 1:
            raise Problem(400, "This parameter may be given once.", parameter=name)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn problems, the framework's own errors and faults of ours into problem details.

    Raises:
        ConnectionError: The client has left, or what it was being sent cannot be finished.

    Cancellation: safe.
    """
    try:
        return await handler(request)
    except Problem as problem:
        return problem.response()
    except web.HTTPError as error:
        return of_framework(request, error)
    except web.RequestPayloadError:
        answer = Problem(400, "The body of the request is not valid.").response()
        answer.force_close()
        return answer
    except ConnectionError:
        raise
    except Exception as error:
        # Without its text, which could repeat what was sent.
        stack = "".join(format_tb(error.__traceback__))
        _log.error("an admin call failed", error=type(error).__name__, stack=stack)
        if request.writer.output_size > 0:
            raise ConnectionError("the head of the answer is out already") from None
        return Problem(500, "The proxy made a mistake.").response()


def of_framework(request: web.BaseRequest, error: web.HTTPError) -> web.Response:
    """Turn an error of the framework into our answer."""
    allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    if request.path.startswith("/metrics/"):
        return web.Response(status=404, text="Not available paths to consume\n")
    if request.path == "/metrics" and error.status == 405:
        text = f"HTTP method [{printable(request.method, _METHOD_LIMIT)}] not allowed\n"
        return web.Response(status=405, text=text, headers=allow)
    detail = _DETAILS.get(error.status, HTTPStatus(error.status).phrase + ".")
    return Problem(error.status, detail, fields=allow).response()
