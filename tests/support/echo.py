"""Run a WebSocket echo server of the ``websockets`` library in a process of its own.

Its own process, so that a test may block while it answers. Run as a module it is that server.
"""

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from websockets.asyncio.server import ServerConnection, serve

from tests.support.parts import ROOT
from tests.support.processes import Service

__all__ = ["run_echo"]


async def _echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def _serve(port: int) -> None:
    async with serve(_echo, "127.0.0.1", port, max_size=None, ping_interval=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


@contextlib.contextmanager
def run_echo(port: int = 0) -> Iterator[str]:
    """Run the server on a port that the kernel chooses, or on this one.

    Yields:
        ``http://host:port``.
    """
    with tempfile.TemporaryDirectory() as home:
        log = Path(home) / "echo.log"
        service = Service("echo server", [sys.executable, "-m", __name__, str(port)], log, cwd=ROOT)
        try:
            said = service.wait_until(lambda: log.read_text().strip(), 20.0)
            yield f"http://127.0.0.1:{said}"
        finally:
            service.stop()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
