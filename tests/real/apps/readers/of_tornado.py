"""Tornado's server, which JupyterLab is built on."""

# mypy: ignore-errors
# It runs with another environment's packages, beside the module `report`.

import asyncio
import sys

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPServerRequest, ResponseStartLine

from report import report


def answer(request: HTTPServerRequest) -> None:
    said = report(request.method, request.uri, request.body)
    fields = HTTPHeaders({"Content-Length": str(len(said))})
    request.connection.write_headers(ResponseStartLine("HTTP/1.1", 200, "OK"), fields)
    if request.method != "HEAD":
        request.connection.write(said)
    request.connection.finish()


async def main() -> None:
    HTTPServer(answer).listen(int(sys.argv[1]), "127.0.0.1")
    await asyncio.Event().wait()


asyncio.run(main())
