"""What the configuration accepts for a socket, the kernel takes."""

from __future__ import annotations

import socket

import pytest

from bascule.policy.config import Sockets
from bascule.policy.socketoptions import session_options


@pytest.mark.parametrize(
    ("written", "milliseconds"), [(0, 0), (0.0004, 1), ("60s", 60_000), ("1000h", 2**31 - 1)]
)
def test_a_user_timeout_of_any_length_is_taken(written: object, milliseconds: int) -> None:
    settings = Sockets.model_validate({"userTimeout": written})
    with socket.socket() as connection:
        for option in session_options(settings, browser=True):
            connection.setsockopt(*option)
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == milliseconds
