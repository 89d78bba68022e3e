"""The demo's upstream: a page, an echo and a shell-like stream, in a process of its own.

``python -m bascule.demo.upstream --descriptor N --admin URL --cap N`` serves on a listening
socket that it inherits. It ends when its standard input does, so that it never outlives
the demo, however the demo ended.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections import deque
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from aiohttp import WSMsgType, web

from bascule import tasks
from bascule._version import __version__
from bascule.demo.shell import GREETING, PROMPT, Closing, Interpreter

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

__all__ = ["build_app", "echo", "main", "shell"]

_INTERRUPT: Final = "\x03"
"""What Ctrl-C sends, as in a terminal."""
_FIELDS: Final = {
    # The page talks to the proxy that it came from; its links may lead elsewhere, but it loads nothing else.
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
_TYPES: Final = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def build_app(admin_url: str, cap: int, with_tools: bool = False) -> web.Application:
    """Build the upstream.

    Args:
        admin_url: The address to which the page links for status and metrics.
        cap: The proxy's cap, for the first drawing of the page.
        with_tools: Whether the page leads to real tools behind the same proxy, at ``/lab/`` and ``/app/``.
    """
    facts = {"admin": admin_url, "cap": cap, "version": __version__}
    app = web.Application()
    app.router.add_get("/", _file("landing.html" if with_tools else "demo.html"))
    for name in ("demo.css", "demo.js", "landing.js", "icon.svg"):
        app.router.add_get(f"/{name}", _file(name))

    async def about(request: web.Request) -> web.Response:
        return web.json_response(facts, headers=_FIELDS)

    app.router.add_get("/about.json", about)
    app.router.add_get("/echo", echo)
    app.router.add_get("/shell", shell)
    return app


def _file(name: str) -> Handler:
    body = (files("bascule.demo") / "static" / name).read_bytes()

    async def send(request: web.Request) -> web.Response:
        return web.Response(
            body=body, content_type=_TYPES[name.rpartition(".")[2]], charset="utf-8", headers=_FIELDS
        )

    return send


async def echo(request: web.Request) -> web.WebSocketResponse:
    """Send every message back as it came.

    Cancellation: safe.
    """
    answer = web.WebSocketResponse(max_msg_size=0)
    await answer.prepare(request)
    with contextlib.suppress(ConnectionError):  # the browser may leave in the middle of an answer
        async for message in answer:
            if message.type is WSMsgType.TEXT:
                await answer.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await answer.send_bytes(message.data)
    return answer


async def shell(request: web.Request) -> web.WebSocketResponse:
    """Run lines one after the other and stream what they print.

    Cancellation: safe.
    """
    answer = web.WebSocketResponse()
    await answer.prepare(request)
    interpreter = Interpreter(request.headers.get("X-Forwarded-For", "nobody, it seems"))
    await answer.send_str(GREETING + PROMPT)
    typed: deque[str] = deque()
    running: asyncio.Task[None] | None = None
    try:
        async for message in answer:
            if message.type is not WSMsgType.TEXT:
                continue
            if message.data == _INTERRUPT:
                typed.clear()
                await tasks.end(running)
                continue
            # Not awaited here: otherwise we would not read a Ctrl-C that follows the line.
            typed.append(message.data)
            if running is None or running.done():
                running = tasks.spawn(_run_all(answer, interpreter, typed), "run")
    finally:
        await tasks.end(running)
    return answer


async def _run_all(answer: web.WebSocketResponse, interpreter: Interpreter, typed: deque[str]) -> None:
    while typed:
        await _run(answer, interpreter, typed.popleft())


async def _run(answer: web.WebSocketResponse, interpreter: Interpreter, line: str) -> None:
    with contextlib.suppress(ConnectionError):
        try:
            async for part in interpreter.run(line):
                if isinstance(part, Closing):
                    await answer.close(code=part.code, message=part.reason.encode())
                    return
                await answer.send_str(part)
        except asyncio.CancelledError:
            if not answer.closed:
                await answer.send_str("^C\n" + PROMPT)
            raise
        await answer.send_str(PROMPT)


async def _serve(arguments: argparse.Namespace) -> None:
    app = build_app(arguments.admin, arguments.cap, arguments.with_tools)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.SockSite(runner, socket.socket(fileno=arguments.descriptor)).start()
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    # The demo holds the other end of our standard input: when the demo ends, however it does, so do we.
    loop.add_reader(sys.stdin.fileno(), lambda: over.set() if not os.read(sys.stdin.fileno(), 1) else None)
    loop.add_signal_handler(signal.SIGTERM, over.set)
    await over.wait()
    loop.remove_reader(sys.stdin.fileno())
    await runner.cleanup()


def main() -> int:
    """Serve until the standard input ends, or SIGTERM comes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--descriptor", type=int, required=True)
    parser.add_argument("--admin", required=True)
    parser.add_argument("--cap", type=int, required=True)
    parser.add_argument("--with-tools", action="store_true")
    asyncio.run(_serve(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
