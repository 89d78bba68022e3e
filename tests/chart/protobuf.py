"""Read the one object that Helm sends as Protocol Buffers: the Secret in which it keeps a release.

The numbers are those of k8s.io/api and k8s.io/apimachinery (generated.proto); nothing else is sent in it.
"""

import base64
from collections.abc import Iterator
from typing import Any, Final

__all__ = ["MAGIC", "secret"]

MAGIC: Final = b"k8s\0"
_RAW: Final = 2
_METADATA, _DATA, _TYPE = 1, 2, 3
_NAME, _NAMESPACE, _LABELS = 1, 3, 11


def secret(body: bytes) -> dict[str, Any]:
    """Return a Secret as JSON has it."""
    whole = dict(_fields(body.removeprefix(MAGIC)))
    found: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "data": {}}
    for number, value in _fields(whole[_RAW]):
        if number == _METADATA:
            found["metadata"] = _metadata(value)
        elif number == _DATA:
            key, data = _entry(value)
            found["data"][key.decode()] = base64.b64encode(data).decode()
        elif number == _TYPE:
            found["type"] = value.decode()
    return found


def _metadata(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {"labels": {}}
    for number, value in _fields(data):
        if number in (_NAME, _NAMESPACE):
            found["name" if number == _NAME else "namespace"] = value.decode()
        elif number == _LABELS:
            key, label = _entry(value)
            found["labels"][key.decode()] = label.decode()
    return found


def _entry(data: bytes) -> tuple[bytes, bytes]:
    entry = dict(_fields(data))
    return entry.get(1, b""), entry.get(2, b"")


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the fields that have bytes; a number is passed over."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        size, place = _varint(data, place)
        if tag & 7 == 2:
            yield tag >> 3, data[place : place + size]
            place += size


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
