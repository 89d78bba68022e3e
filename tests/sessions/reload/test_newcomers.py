"""Whoever comes while one gateway after another takes over gets in."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tests.support.chatter import chatting
from tests.support.frames import CLOSE
from tests.support.rawclient import connected
from tests.support.waiting import eventually

if TYPE_CHECKING:
    import ssl

    from tests.sessions.reload.support import Proxy
    from tests.support.bascule import RunningBascule
    from tests.support.certificates import Certificate


class Storm(threading.Thread):
    """Opens sessions one after another, each of which is used and closed."""

    def __init__(self, url: str, context: ssl.SSLContext | None = None) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._tls = context  # a thread has a `_context` of its own from Python 3.14 on
        self._over = threading.Event()
        self.used = 0
        self.told: list[int] = []
        self.failures: list[BaseException] = []
        self.start()

    def run(self) -> None:
        while not self._over.is_set():
            try:
                self._open()
            except BaseException as error:
                self.failures.append(error)

    def _open(self) -> None:
        with connected(self._url, self._tls) as client:
            client.open()
            client.say(b"hello")
            found = client.reply()
            if found.opcode == CLOSE:
                self.told.append(found.code or 0)
            else:
                assert found.payload == b"hello"
                self.used += 1

    def goes_on(self) -> None:
        """Wait until one more session was used."""
        before = self.used
        eventually(lambda: self.used > before, 10, "everybody gets in")

    def stop(self) -> None:
        self._over.set()
        self.join()


def weather(storms: list[Storm], bascule: RunningBascule, caps: range) -> None:
    """Let gateways follow each other, one for each cap, while the storms go on; nobody may be turned away."""
    try:
        for sessions in caps:
            bascule.goes_over(sessions)
            for storm in storms:
                storm.goes_on()
    finally:
        for storm in storms:
            storm.stop()
    assert not [failure for storm in storms for failure in storm.failures]
    assert not [code for storm in storms for code in storm.told]


def test_nobody_who_comes_while_gateways_change_is_turned_away(proxy: Proxy) -> None:
    bascule = proxy()
    storms = [Storm(bascule.public_url) for _ in range(3)]
    with chatting(bascule.public_url, 4) as chatter:
        weather(storms, bascule, range(101, 106))
        chatter.progress()
        assert not chatter.ended
    eventually(lambda: bascule.in_flight_if_up == 0, 10, "every lease comes back")
    count = sum(storm.used for storm in storms) + 4
    eventually(
        lambda: bascule.metric("ws_connection_duration_seconds_count") == count, 10, "each is counted once"
    )
    eventually(lambda: len(bascule.events("session ended")) == count, 10, "each has one line")


def test_nobody_whose_tls_handshake_is_under_way_is_turned_away(
    proxy: Proxy, certificates: tuple[Certificate, Certificate]
) -> None:
    first, _ = certificates
    bascule = proxy(tls=first.block())
    storms = [Storm(bascule.public_url, first.client()) for _ in range(6)]
    weather(storms, bascule, range(101, 111))
