"""kubectl writes the objects that it makes itself as protocol buffers; of these a Secret is read here.

The numbers are those of ``generated.proto`` in k8s.io/apimachinery and k8s.io/api/core/v1.
"""

import base64
from collections.abc import Iterable, Iterator
from typing import Any, Final

__all__ = ["MAGIC", "secret"]

MAGIC: Final = b"k8s\x00"
"""What a body in this encoding begins with; a ``runtime.Unknown`` follows."""

_METADATA: Final = {"name": 1, "namespace": 3, "resourceVersion": 6}


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the bytes of each field that is a string, a message or bytes."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        length, place = _varint(data, place)
        if key & 7 == 2:
            yield key >> 3, data[place : place + length]
            place += length


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        shift, place = shift + 7, place + 1
        if byte < 0x80:
            return value, place


def _map(entries: Iterable[bytes]) -> dict[str, bytes]:
    pairs = (dict(_fields(entry)) for entry in entries)
    return {pair[1].decode(): pair.get(2, b"") for pair in pairs}


def _all(message: bytes, number: int) -> list[bytes]:
    return [data for found, data in _fields(message) if found == number]


def secret(body: bytes) -> dict[str, Any]:
    """Return a Secret as it would be in JSON."""
    unknown = dict(_fields(body.removeprefix(MAGIC)))
    assert dict(_fields(unknown[1])) == {1: b"v1", 2: b"Secret"}, unknown[1]
    whole = unknown[2]
    metadata = _all(whole, 1)[0]
    named = {key: _all(metadata, number) for key, number in _METADATA.items()}
    values = {key: base64.b64encode(data).decode() for key, data in _map(_all(whole, 2)).items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": _all(whole, 3)[0].decode(),
        "data": values,
        "metadata": {
            **{key: data[0].decode() for key, data in named.items() if data},
            "labels": {key: value.decode() for key, value in _map(_all(metadata, 11)).items()},
        },
    }
