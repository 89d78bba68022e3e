"""What the configuration accepts for a socket, the kernel takes."""

from __future__ import annotations

import socket

import pytest

from bascule.configuration.config import Sockets
from bascule.policy.socketoptions import DEFER_ACCEPT_SECONDS, keepalive_start, session_options, unix_options


@pytest.mark.parametrize(
    ("written", "milliseconds"), [(0, 0), (0.0004, 1), ("60s", 60_000), ("1000h", 2**31 - 1)]
)
def test_a_user_timeout_of_any_length_is_taken(written: object, milliseconds: int) -> None:
    settings = Sockets.model_validate({"userTimeout": written})
    with socket.socket() as connection:
        for option in session_options(settings, browser=True):
            connection.setsockopt(*option)
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == milliseconds


@pytest.mark.parametrize(("share", "seconds"), [(0.0, 30), (0.5, 45), (1.0, 60)])
def test_the_first_probe_comes_in_the_second_half_of_the_time(share: float, seconds: int) -> None:
    settings = Sockets(keepalive_idle=60.0)
    assert keepalive_start(settings, share) == (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)
    assert keepalive_start(Sockets(keepalive_idle=1.0), 0.0)[2] == 1, "0 is no time"


def test_only_a_browsers_connection_waits_for_its_request_and_keeps_little_unsent() -> None:
    settings = Sockets(notsent_lowat_bytes=70_000, keepalive_idle=60)
    common = session_options(settings, browser=False)
    browser = session_options(settings, browser=True)
    assert set(browser) - set(common) == {
        (socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFER_ACCEPT_SECONDS),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
        (socket.IPPROTO_TCP, 25, 70_000),
    }
    assert set(common) < set(browser)


def test_an_algorithm_that_is_named_is_set() -> None:
    wanted = (socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
    assert wanted in session_options(Sockets(congestion_control="cubic"), browser=False)
    assert socket.TCP_CONGESTION not in {option for _, option, _ in session_options(Sockets(), browser=True)}


def test_a_unix_socket_takes_its_options() -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        for option in unix_options():
            connection.setsockopt(*option)
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE)
