"""Messages between gateway and forwarder."""

from __future__ import annotations

from bascule.errors import HandoverError
from bascule.handover.messages import decode
from fuzz.running import run


def check(data: bytes) -> None:
    """A packet that is understood says the same when it is encoded again; everything else is refused."""
    try:
        messages = decode(data)
    except HandoverError:
        return
    again = decode(b"".join(message.encode() for message in messages))
    assert again == messages or repr(again) == repr(messages)  # a NaN equals nothing


if __name__ == "__main__":
    run(check)
