"""Servers that tell what they read of a request; each reads with another parser of HTTP/1.1."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.support import parts
from tests.support.nginx import run_nginx
from tests.support.processes import Service, answers, reserve_port

__all__ = ["READERS", "run_reader"]

_PROGRAMS: Final = parts.ROOT / "tests/real/apps/readers"

READERS: Final = ("aiohttp", "careless", "nginx", "node", "stdlib", "tornado", "uvicorn")
"""By name. ``careless`` is ``stdlib`` with handlers that read no body of a GET."""


def _python(part: str) -> Path:
    """Return the interpreter that has the packages of a part."""
    return parts.require(part).parent / "python"


def _command(name: str) -> list[str | Path]:
    match name:
        case "tornado":
            return [_python("jupyter"), _PROGRAMS / "of_tornado.py"]
        case "uvicorn":
            return [_python("streamlit"), _PROGRAMS / "of_uvicorn.py"]
        case "node":
            return [parts.require("node"), _PROGRAMS / "of_node.mjs"]
        case "careless":
            return [sys.executable, _PROGRAMS / "of_stdlib.py"]
        case _:
            return [sys.executable, _PROGRAMS / f"of_{name}.py"]


@contextlib.contextmanager
def run_reader(name: str, home: Path) -> Iterator[str]:
    """Run one for the length of a block.

    Args:
        name: One of `READERS`. That of ``nginx`` passes on to aiohttp's what it has read itself.
        home: An existing directory for its files.

    Yields:
        Its ``http://host:port``. It answers each request with JSON: ``count``, of the requests it has read by
        now, ``method``, ``target`` and ``body``, a character for each byte.
    """
    if name == "nginx":
        with run_reader("aiohttp", home) as behind, run_nginx(home, behind) as front:
            yield front
        return
    port = reserve_port()
    service = Service(name, [*_command(name), str(port), name], home / f"{name}.log")
    try:
        service.wait_until(lambda: answers(f"http://127.0.0.1:{port}/"), 30.0)
        yield f"http://127.0.0.1:{port}"
    finally:
        service.stop()
