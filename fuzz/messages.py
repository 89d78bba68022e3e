"""Messages between gateway and forwarder."""

from __future__ import annotations

from bascule.errors import HandoverError
from bascule.handover.messages import decode
from fuzz.running import run


def check(data: bytes) -> None:
    """A packet that is understood encodes to itself; everything else is refused."""
    try:
        message = decode(data)
    except HandoverError:
        return
    again = decode(message.encode())
    assert again == message or repr(again) == repr(message)  # a NaN equals nothing


if __name__ == "__main__":
    run(check)
