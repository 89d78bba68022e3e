"""Drive a Jupyter kernel over its WebSocket, in both wire protocols.

Rules of this file: no Jupyter library, so that what is tested is what goes over the wire. Sources:
Jupyter Server's "WebSocket kernel wire protocols" page and Jupyter Client's messaging page.
"""

import json
import uuid
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

from websockets.asyncio.client import ClientConnection

__all__ = ["V1", "execute", "request", "text_of"]

V1: Final = "v1.kernel.websocket.jupyter.org"
_SECTIONS: Final = ("header", "parent_header", "metadata", "content")
_WORD: Final = 8
"""Bytes of one offset."""


def _message(kind: str, content: dict[str, Any]) -> dict[str, Any]:
    return {
        "channel": "shell",
        "header": {
            "msg_id": uuid.uuid4().hex,
            "msg_type": kind,
            "session": uuid.uuid4().hex,
            "username": "tester",
            "date": "2026-01-01T00:00:00Z",
            "version": "5.3",
        },
        "parent_header": {},
        "metadata": {},
        "content": content,
    }


def _to_v1(message: dict[str, Any]) -> bytes:
    sections = [str(message["channel"]).encode()]
    sections += [
        json.dumps(message[key]).encode() for key in ("header", "parent_header", "metadata", "content")
    ]
    offsets = [_WORD * (len(sections) + 2)]
    for section in sections:
        offsets.append(offsets[-1] + len(section))
    numbers = [len(offsets), *offsets]
    return b"".join([number.to_bytes(_WORD, "little") for number in numbers] + sections)


def _sections(frame: bytes) -> Iterator[bytes]:
    count = int.from_bytes(frame[:_WORD], "little")
    words = [int.from_bytes(frame[_WORD * n : _WORD * (n + 1)], "little") for n in range(1, count + 1)]
    for start, end in pairwise(words):
        yield frame[start:end]


def _from_v1(frame: bytes) -> dict[str, Any]:
    channel, *sections = _sections(frame)
    decoded = [json.loads(section) for section in sections[: len(_SECTIONS)]]  # what follows is buffers
    return {"channel": channel.decode(), **dict(zip(_SECTIONS, decoded, strict=True))}


async def request(connection: ClientConnection, kind: str, content: dict[str, Any]) -> str:
    """Send a request on the shell channel, in the protocol that was negotiated.

    Returns:
        The message's id, which its answers carry.
    """
    message = _message(kind, content)
    await connection.send(_to_v1(message) if connection.subprotocol == V1 else json.dumps(message))
    return str(message["header"]["msg_id"])


async def execute(connection: ClientConnection, code: str) -> list[dict[str, Any]]:
    """Run code and return every message the kernel sent about it, until it is idle and has replied.

    Cancellation: safe; the kernel goes on.
    """
    mine = await request(
        connection, "execute_request", {"code": code, "silent": False, "store_history": True}
    )
    messages: list[dict[str, Any]] = []
    waiting = {"idle", "execute_reply"}
    while waiting:
        frame = await connection.recv()
        message = _from_v1(frame) if isinstance(frame, bytes) else json.loads(frame)
        if message["parent_header"].get("msg_id") == mine:
            messages.append(message)
            waiting -= {message["header"]["msg_type"], message["content"].get("execution_state")}
    return messages


def text_of(messages: list[dict[str, Any]]) -> str:
    """Return all text the messages show, in order: streams, results and displays."""
    return "".join(_shown(message["header"]["msg_type"], message["content"]) for message in messages)


def _shown(kind: str, content: dict[str, Any]) -> str:
    if kind == "stream":
        return str(content["text"])
    if kind in {"execute_result", "display_data"}:
        return str(content["data"].get("text/plain", ""))
    return ""
