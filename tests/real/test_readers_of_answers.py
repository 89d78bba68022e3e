"""An answer that can be read in two ways is made into one with a single reading, or into a 502.

Every client reads each of them, and then the answer to its next request: nothing of the former may be in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import subprocess
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.support import parts
from tests.support.rawupstream import Call, run_upstream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.conftest import Start

pytestmark = pytest.mark.real

OK: Final = b"HTTP/1.1 200 OK\r\n"
LENGTH: Final = b"Content-Length: 5\r\n"
CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
CHUNKS: Final = b"5\r\nhello\r\n0\r\n\r\n"
POISON: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON"

HELLO, BAD, BROKEN = (200, "hello"), 502, None

CASES: Final[dict[str, tuple[bytes, tuple[int, str] | int | None]]] = {
    "a length": (OK + LENGTH + b"\r\nhello", HELLO),
    "a length with zeros": (OK + b"Content-Length: 005\r\n\r\nhello", HELLO),
    "two lengths": (OK + LENGTH + LENGTH + b"\r\nhello", BAD),
    "a length below 2**64": (OK + b"Content-Length: 18446744073709551615\r\n\r\nhello", BAD),
    "a length and chunks": (OK + LENGTH + CHUNKED + b"\r\n" + CHUNKS, BAD),
    "white space before the colon of a length": (OK + b"Content-Length : 5\r\n\r\nhello", BAD),
    "white space before the colon of a coding": (OK + b"Transfer-Encoding : chunked\r\n\r\n" + CHUNKS, BAD),
    "chunks": (OK + CHUNKED + b"\r\n" + CHUNKS, HELLO),
    "chunks with a tab": (OK + b"Transfer-Encoding: chunked\t\r\n\r\n" + CHUNKS, BAD),
    "chunks in a list": (OK + b"Transfer-Encoding: chunked,\r\n\r\n" + CHUNKS, BAD),
    "an unknown coding": (OK + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKS, BAD),
    "a nominated length": (OK + b"Connection: Content-Length\r\n" + LENGTH + b"\r\nhello", HELLO),
    "a folded field": (OK + b"X: y\r\n Content-Length: 3\r\n" + LENGTH + b"\r\nhello", HELLO),
    "bare line feeds": (OK.replace(b"\r", b"") + b"Content-Length: 5\n\nhello", HELLO),
    "a carriage return in a field": (OK + b"X: y\rContent-Length: 3\r\n" + LENGTH + b"\r\nhello", BAD),
    "a NUL in the reason": (b"HTTP/1.1 200 O\0K\r\n" + LENGTH + b"\r\nhello", BAD),
    "no reason": (b"HTTP/1.1 200\r\n" + LENGTH + b"\r\nhello", HELLO),
    "an extension": (OK + CHUNKED + b"\r\n5;a=b\r\nhello\r\n0\r\n\r\n", HELLO),
    "a trailer": (OK + CHUNKED + b"\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n", HELLO),
    "a broken chunk": (OK + CHUNKED + b"\r\n5\r\nhelloXX\r\n0\r\n\r\n", BAD),
    "a missing end": (OK + b"Content-Length: 50\r\n\r\nhello", BROKEN),
    "missing chunks": (OK + CHUNKED + b"\r\n5\r\nhello\r\n", BROKEN),
    "another answer behind it": (OK + LENGTH + b"\r\nhello" + POISON, HELLO),
    "another answer behind chunks": (OK + CHUNKED + b"\r\n" + CHUNKS + POISON, HELLO),
    "a body of 204": (b"HTTP/1.1 204 No Content\r\n" + LENGTH + b"\r\nhello", (204, "")),
    "a body of 304": (b"HTTP/1.1 304 Not Modified\r\n" + LENGTH + b"\r\nhello", (304, "")),
    "an answer as the body of 304": (b"HTTP/1.1 304 Not Modified\r\n\r\n" + POISON, (304, "")),
    "an invitation": (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + LENGTH + b"\r\nhello", HELLO),
    "a protocol that nobody asked for": (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n" + POISON,
        BAD,
    ),
    "no status": (b"hello", BAD),
}
"""What the upstream sends, and what each client is to read; `BROKEN` is to notice that the end is missing."""

Heard = tuple[int, str] | None


async def by_aiohttp(urls: Sequence[str]) -> list[Heard]:
    heard: list[Heard] = []
    connector = aiohttp.TCPConnector(limit=1)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(5)) as session:
        for url in urls:
            try:
                async with session.get(url) as answer:
                    heard.append((answer.status, await answer.text()))
            except aiohttp.ClientError:
                heard.append(None)
    return heard


def by_curl(urls: Sequence[str]) -> list[Heard]:
    heard: list[Heard] = []
    for first, second in zip(urls[::2], urls[1::2], strict=True):  # each pair over one connection
        mark = ["-s", "-m", "5", "-w", "\n%{http_code} %{exitcode}\n--\n"]
        said = subprocess.run([parts.require("curl"), *mark, first, second], capture_output=True, check=False)
        for one in said.stdout.decode().split("\n--\n")[:-1]:
            body, _, end = one.rpartition("\n")
            status, code = map(int, end.split())
            heard.append((status, body) if code == 0 else None)
    return heard


def by_node(urls: Sequence[str]) -> list[Heard]:
    program = parts.ROOT / "tests/real/apps/fetching.mjs"
    said = subprocess.run([parts.require("node"), program, "GET", *urls], capture_output=True, check=True)
    return [None if one is None else (one[0], one[1]) for one in map(json.loads, said.stdout.splitlines())]


def by_the_standard_library(urls: Sequence[str]) -> list[Heard]:
    heard: list[Heard] = []
    with contextlib.closing(http.client.HTTPConnection(urlsplit(urls[0]).netloc, timeout=5)) as connection:
        for url in urls:
            try:
                connection.request("GET", urlsplit(url).path)
                answer = connection.getresponse()
                heard.append((answer.status, answer.read().decode()))
            except http.client.HTTPException:
                connection.close()
                heard.append(None)
    return heard


def answers(call: Call) -> None:
    """Send the answer of a case, or the target; then take the next request, unless the end is missing."""
    cases = list(CASES.values())
    while True:
        what, number = call.target.decode().strip("/").split("/")
        if what == "case":
            sent, expected = cases[int(number)]
            call.send(sent)
            if expected is BROKEN:
                return
        else:
            call.send(OK + b"Content-Length: %d\r\n\r\n" % len(call.target) + call.target)
        if not call.read_head():
            return


@pytest.mark.parametrize("client", [by_aiohttp, by_curl, by_node, by_the_standard_library])
async def test_each_answer_is_the_same_to_every_client(
    client: Callable[[Sequence[str]], list[Heard]], bascule: Start, tmp_path: Path
) -> None:
    found: list[str] = []
    with run_upstream() as upstream:
        upstream.scripts = {b"/": answers}
        front = bascule({"routes": [{"name": "answers", "path": "/", "upstream": upstream.url}]}).public_url
        urls = [f"{front}/{what}/{number}" for number in range(len(CASES)) for what in ("case", "next")]
        if asyncio.iscoroutinefunction(client):
            heard = await client(urls)
        else:
            heard = await asyncio.to_thread(client, urls)
    assert len(heard) == len(urls)
    for number, (name, (_, expected)) in enumerate(CASES.items()):
        first, second = heard[2 * number : 2 * number + 2]
        is_right = first[0] == expected if first and isinstance(expected, int) else first == expected
        if not is_right:
            found.append(f"{name}: read as {first}")
        if second != (200, f"/next/{number}"):
            found.append(f"{name}: the next answer is {second}")
    assert found == []
