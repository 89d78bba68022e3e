"""aiohttp's server, which reads with llhttp."""

# mypy: ignore-errors
# It runs with another environment's packages, beside the module `report`.

import sys

from aiohttp import web

from report import report


async def answer(request: web.Request) -> web.Response:
    return web.Response(body=report(request.method, request.raw_path, await request.read()))


app = web.Application()
app.router.add_route("*", "/{rest:.*}", answer)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
