"""A proxy with sessions in each state, to which something happens."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from bascule.handover.counters import CAUSES, ENDED_BY, KINDS, CounterFile, ForwarderWord
from bascule.vocabulary import Cause
from tests.support.certificates import make_certificate
from tests.support.frames import CLOSE
from tests.support.proctree import alive, forwarders, gateway, kill, links
from tests.support.rawclient import connect, upgrade
from tests.support.rawupstream import echo, echo_frames, run_upstream, switch
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Start
    from tests.support.bascule import RunningBascule
    from tests.support.rawclient import RawClient
    from tests.support.rawupstream import Call, RawUpstream

__all__ = ["CAP", "Scene", "Session", "State", "set_scene"]

CAP: Final = 14


class State(Enum):
    """What a session is doing when the event comes."""

    OFFERED = auto()
    """It waits in its forwarder's channel, unread."""
    IDLE = auto()
    TRANSFER = auto()
    CLOSING = auto()
    TLS = auto()
    UNREAD = auto()
    """It has ended, and its outcome waits in the gateway's channel, unread."""


@dataclass
class Session:
    """A browser's connection, and its upstream's."""

    state: State
    client: RawClient
    call: Call
    is_open: bool = False

    def hear_101(self) -> None:
        """Hear that there is a session, unless that was heard before."""
        if not self.is_open:
            assert self.client.head().status == 101
            self.is_open = True


@dataclass
class Scene:
    """A proxy with two forwarders, each with sessions in several states."""

    proxy: RunningBascule
    counters: CounterFile
    gateway: int
    forwarders: list[int]
    upstreams: list[RawUpstream]
    answers: threading.Event
    sessions: list[Session] = field(default_factory=list)

    def begin(self, state: State, path: bytes, upstream: int = 0) -> Session:
        """Open a session, without waiting for the 101 if no forwarder can say it yet."""
        client = connect(self.proxy.public_url)
        target = path + b"%d" % len(self.sessions)
        client.send(upgrade(target))
        found = eventually(lambda: self.upstreams[upstream].calls_for(target), 10, "the upstream is asked")
        session = Session(state, client, found[0])
        if state is not State.OFFERED:
            session.hear_101()
        self.sessions.append(session)
        return session

    def each_forwarder(self, state: State, path: bytes, upstream: int = 0) -> list[Session]:
        return [self.begin(state, path, upstream) for _ in self.forwarders]

    @property
    def counted(self) -> Counter[Cause]:
        """Sessions by why they ended, apart from those that were lost."""
        counts = Counter[Cause]()
        for kind in KINDS:
            for by in ENDED_BY:
                for cause in CAUSES:
                    counts[cause] += self.counters.ended(kind, by, cause)
        del counts[Cause.INTERNAL]
        return +counts

    @property
    def lost(self) -> int:
        return self.counters.lost_count()

    def of(self, state: State) -> list[Session]:
        return [session for session in self.sessions if session.state is state]

    def go_on(self) -> None:
        for pid in (self.gateway, *self.forwarders):
            if alive(pid):
                kill(pid, signal.SIGCONT)


def _counters(pid: int, forwarders: int) -> CounterFile:
    """Map the shared memory of a running proxy, to read what it counts though no gateway is there to say."""
    number = next(number for number, name in links(pid).items() if "bascule-counters" in name)
    descriptor = os.open(f"/proc/{pid}/fd/{number}", os.O_RDWR)
    try:
        return CounterFile(descriptor, forwarders)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def set_scene(start: Start, folder: Path) -> Iterator[Scene]:
    """Bring sessions into all states; then the gateway and the first forwarder stand still."""
    certificate = make_certificate(folder)
    answers = threading.Event()

    def stream(call: Call) -> None:
        switch(call)
        while not select.select([call.socket], [], [], 0)[0]:
            call.send(b"\x82\x7e\x10\x00" + bytes(4096))

    def answer_late(call: Call) -> None:
        switch(call)
        heard = call.frame()
        assert heard is not None
        assert heard.opcode == CLOSE
        call.socket.settimeout(60)
        closing.append(call)
        answers.wait(60)
        call.send(b"\x88\x02\x03\xe8")

    def echo_and_tell(call: Call) -> None:
        switch(call)
        switched.set()
        echo_frames(call)

    switched = threading.Event()
    closing: list[Call] = []
    with run_upstream() as upstream, run_upstream(certificate.server()) as secure:
        upstream.scripts = {
            b"/stream": stream,
            b"/late": answer_late,
            b"/offered": echo_and_tell,
            b"/": echo,
        }
        proxy = start(
            {
                "routes": [
                    {"name": "tls", "path": "/tls/", "upstream": secure.url},
                    {"name": "all", "path": "/", "upstream": upstream.url},
                ],
                "upstreamTls": {"ca": str(certificate.certificate)},
                "forwarders": {"count": 2},
                "websocketProxy": {"maxSessionsPerApp": CAP},
                "limits": {"closingHandshakeTimeout": "20s", "refusalHoldMax": 0},
                "drain": {"timeout": "3s", "rate": 0},
            }
        )
        both = forwarders(proxy)
        scene = Scene(proxy, _counters(both[0], 2), gateway(proxy), both, [upstream, secure], answers)
        scene.each_forwarder(State.IDLE, b"/echo")
        scene.each_forwarder(State.TRANSFER, b"/stream")
        scene.each_forwarder(State.TLS, b"/tls/", upstream=1)
        for session in scene.each_forwarder(State.CLOSING, b"/late"):
            session.client.say(b"\x03\xe8", CLOSE)
        eventually(lambda: len(closing) == 2, 10, "the upstream has heard of the end")
        scene.begin(State.IDLE, b"/echo")  # by the first forwarder
        ending = scene.begin(State.UNREAD, b"/echo")  # and so by the second
        kill(both[0], signal.SIGSTOP)
        scene.begin(State.OFFERED, b"/offered")
        assert switched.wait(10)
        for _ in range(3):  # turns of the gateway, in which it hands the session over
            assert proxy.in_flight == 11
        kill(scene.gateway, signal.SIGSTOP)
        ending.client.say(b"\x03\xe8", CLOSE)
        assert ending.client.reply().opcode == CLOSE
        ending.client.goodbye()
        eventually(lambda: scene.counted == {Cause.CLOSED: 1}, 10, "it is counted")
        before = scene.counters.forwarder(1)[ForwarderWord.TURNS]
        eventually(lambda: scene.counters.forwarder(1)[ForwarderWord.TURNS] > before, 10, "and told")
        yield scene
        answers.set()
        scene.go_on()
        for session in scene.sessions:
            session.client.close()
