"""Who ends a session, and who counts it, when processes die, stand still or are replaced.

Each event happens to one proxy whose forwarders have a session in each state. `EVENTS` says what becomes of
it, as docs/explanation/when-processes-die.md does for operators; a test below holds the two together.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from bascule.handover.counters import CAUSES, ENDED_BY, KINDS, CounterFile, ForwarderWord
from bascule.vocabulary import Cause
from tests.support.certificates import make_certificate
from tests.support.frames import CLOSE
from tests.support.proctree import alive, children, descriptors, forwarders, gateway, gateways, kill, links
from tests.support.rawclient import connect, upgrade
from tests.support.rawupstream import echo, echo_frames, run_upstream, switch
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Start
    from tests.support.bascule import RunningBascule
    from tests.support.rawclient import RawClient
    from tests.support.rawupstream import Call, RawUpstream

PAGE: Final = Path(__file__).parents[2] / "docs/explanation/when-processes-die.md"
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


COLUMNS: Final = (
    {State.OFFERED},
    {State.IDLE, State.TRANSFER, State.CLOSING},
    {State.TLS},
    {State.UNREAD},
)
"""The columns of the page's table, behind that of the events."""


class Fate(Enum):
    """What becomes of it; the value is the word on the page."""

    ON = "goes on"
    CUT = "cut"
    """The other peer is told as of a peer that is gone, and the session is counted as aborted."""
    LOST = "lost"
    """Both connections end without a word, and the session is counted as lost."""
    LOST_UNSEEN = "lost, no line"
    """The same, and nobody is left to log it."""
    UNKNOWN = "never was"
    """Both connections end before the browser had its 101, and nothing is counted."""
    COUNTED = "counted"
    """Its end was counted before."""


class Event(NamedTuple):
    """Something that happens, and what becomes of the sessions.

    Attributes:
        happens: Does it. The gateway and the first forwarder stand still; those that live go on after it.
        fates: Of the sessions in each state.
    """

    happens: Callable[[Scene], None]
    fates: dict[State, Fate]


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


@pytest.fixture
def scene(bascule: Start, tmp_path: Path) -> Iterator[Scene]:
    """Bring sessions into all states; then the gateway and the first forwarder stand still."""
    certificate = make_certificate(tmp_path)
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
        proxy = bascule(
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


# -- what happens --------------------------------------------------------------------------------------


def _at_once(scene: Scene, victims: list[int]) -> None:
    """Kill processes so that the supervisor finds all of them dead."""
    kill(scene.proxy.process.pid, signal.SIGSTOP)
    for victim in victims:
        kill(victim)
    kill(scene.proxy.process.pid, signal.SIGCONT)


def _gateway_killed(scene: Scene) -> None:
    kill(scene.gateway)


def _gateway_hung(scene: Scene) -> None:
    kill(scene.forwarders[0], signal.SIGCONT)
    scene.of(State.OFFERED)[0].hear_101()
    kill(scene.gateway)


def _forwarders_killed(scene: Scene) -> None:
    _at_once(scene, scene.forwarders)


def _forwarders_killed_unnoticed(scene: Scene) -> None:
    _forwarders_killed(scene)
    time.sleep(6)  # what is looked for is that the supervisor does not count meanwhile, and nothing tells


def _all_killed(scene: Scene) -> None:
    _at_once(scene, [scene.gateway, *scene.forwarders])


def _forwarders_stopped(scene: Scene) -> None:
    kill(scene.forwarders[1], signal.SIGSTOP)
    kill(scene.gateway, signal.SIGCONT)
    eventually(lambda: scene.proxy.in_flight == 10, 10, "all are known")


def _another_gateway_begins(scene: Scene) -> None:
    eventually(lambda: gateways(scene.proxy) not in ([], [scene.gateway]), 10, "another one begins")


def _forwarders_stopped_and_gateway_killed(scene: Scene) -> None:
    kill(scene.forwarders[1], signal.SIGSTOP)
    kill(scene.gateway)
    _another_gateway_begins(scene)


def _forwarders_stopped_and_all_killed(scene: Scene) -> None:
    _forwarders_stopped_and_gateway_killed(scene)
    _at_once(scene, scene.forwarders)


def _reloaded(scene: Scene) -> None:
    scene.proxy.hang_up()
    eventually(lambda: len(gateways(scene.proxy)) == 2, 10, "another one begins")


def _is_over(scene: Scene) -> None:
    scene.go_on()
    eventually(lambda: scene.proxy.events("configuration reloaded"), 20, "it serves")


def _reloaded_and_forwarders_killed(scene: Scene) -> None:
    _reloaded(scene)
    kill(scene.gateway, signal.SIGCONT)
    _at_once(scene, scene.forwarders)


def _reloaded_and_forwarders_replaced(scene: Scene) -> None:
    """The first forwarder has never taken another channel, and the former gateway hears last of its death."""
    _reloaded(scene)
    kill(scene.gateway, signal.SIGCONT)
    eventually(lambda: scene.proxy.events("configuration reloaded"), 20, "it serves")
    kill(scene.gateway, signal.SIGSTOP)
    words = scene.counters.forwarder(0)
    before = words[ForwarderWord.CHANNEL]
    _at_once(scene, scene.forwarders)
    eventually(lambda: words[ForwarderWord.CHANNEL] != before, 10, "the next one has its channel")


def _reloaded_and_former_killed(scene: Scene) -> None:
    _reloaded(scene)
    _is_over(scene)
    kill(scene.gateway)


_UNHARMED: Final = dict.fromkeys(State, Fate.ON) | {State.UNREAD: Fate.COUNTED}
_TLS_CUT: Final = _UNHARMED | {State.TLS: Fate.CUT}
_LOST: Final = dict.fromkeys(State, Fate.LOST) | {State.UNREAD: Fate.COUNTED}
_NOBODY_KNOWS: Final = dict.fromkeys(State, Fate.LOST_UNSEEN) | {
    State.OFFERED: Fate.UNKNOWN,
    State.UNREAD: Fate.COUNTED,
}

EVENTS: Final = {
    "the gateway dies": Event(_gateway_killed, _TLS_CUT),
    "the gateway hangs and is killed": Event(_gateway_hung, _TLS_CUT),
    "the forwarder dies": Event(_forwarders_killed, _LOST),
    "the forwarder dies while the gateway stands still": Event(_forwarders_killed_unnoticed, _LOST),
    "both die at once": Event(_all_killed, _NOBODY_KNOWS),
    "the forwarder stands still and goes on": Event(_forwarders_stopped, _UNHARMED),
    "… and the gateway dies meanwhile": Event(_forwarders_stopped_and_gateway_killed, _TLS_CUT),
    "… and then the forwarder too": Event(_forwarders_stopped_and_all_killed, _NOBODY_KNOWS),
    "a reload": Event(_reloaded, _UNHARMED),
    "a reload, and the forwarder dies": Event(_reloaded_and_forwarders_killed, _LOST),
    "… and the next one comes before the former gateway knows": Event(
        _reloaded_and_forwarders_replaced, _LOST
    ),
    "a reload, and the former gateway dies": Event(_reloaded_and_former_killed, _TLS_CUT),
}


def test_the_page_says_what_becomes_of_each_session() -> None:
    rows = [line.strip("| \n").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("|")]
    start = next(number for number, row in enumerate(rows) if row[0] in EVENTS)
    said = {row[0]: row[1:] for row in rows[start : start + len(EVENTS)]}
    assert said == {
        name: [fate.value for states in COLUMNS for fate in {event.fates[state] for state in states}]
        for name, event in EVENTS.items()
    }


def _goes_on(session: Session) -> None:
    client = session.client
    session.hear_101()
    match session.state:
        case State.TRANSFER:
            for one in client.frames(200):
                assert one.payload == bytes(4096)
        case State.CLOSING:
            assert client.reply().code == 1000
            assert client.goodbye() == b""
        case _:
            client.say(b"hello")
            assert client.reply().payload == b"hello"


def _has_ended(session: Session, fate: Fate) -> None:
    client = session.client
    if fate is Fate.CUT:
        assert client.reply().code == 1014
    client.goodbye()
    eventually(lambda: session.call.socket.fileno() < 0, 10, "the upstream's connection has ended")


def _end(session: Session) -> None:
    """End a session that goes on, by a reset."""
    session.client.reset()
    eventually(lambda: session.call.socket.fileno() < 0, 20, "the upstream's connection has ended")


@pytest.mark.parametrize("name", EVENTS)
def test_each_session_ends_or_goes_on_and_is_counted_once(scene: Scene, name: str) -> None:
    proxy, event = scene.proxy, EVENTS[name]
    held = len(descriptors(proxy.process.pid))
    fates = Counter(event.fates[session.state] for session in scene.sessions)
    event.happens(scene)
    scene.go_on()
    scene.answers.set()
    living = []
    for session in scene.sessions:
        match event.fates[session.state]:
            case Fate.ON:
                _goes_on(session)
                if session.state is not State.CLOSING:
                    living.append(session)
            case Fate.COUNTED:
                pass
            case fate:
                _has_ended(session, fate)
    lost = fates[Fate.LOST] + fates[Fate.LOST_UNSEEN]
    closed = fates[Fate.COUNTED] + fates[Fate.ON] - len(living)
    eventually(lambda: proxy.in_flight_if_up == len(living), 30, f"{len(living)} sessions are in flight")
    eventually(lambda: scene.lost == lost, 10, f"{lost} are lost")
    eventually(
        lambda: scene.counted == +Counter({Cause.CLOSED: closed, Cause.ABORTED: fates[Fate.CUT]}),
        10,
        "the others are counted by how they ended",
    )
    for session in living:
        _end(session)
    known = len(scene.sessions) - fates[Fate.UNKNOWN]
    eventually(lambda: scene.counted.total() + scene.lost == known, 10, "each is counted")
    seen = known - fates[Fate.LOST_UNSEEN]
    eventually(lambda: len(proxy.events("session ended")) >= seen, 10, "each that somebody saw has its line")
    lines = Counter(line["id"] for line in proxy.events("session ended"))
    assert [lines.total(), max(lines.values())] == [seen, 1]
    died = sum(line.get("sessions", 0) for line in proxy.events("a process died"))
    assert died == lost - (event.fates[State.OFFERED] is Fate.LOST), "a forwarder holds what it has adopted"
    _cap_comes_back(proxy)
    _nothing_is_left_over(proxy, held)


def _nothing_is_left_over(proxy: RunningBascule, held: int) -> None:
    eventually(
        lambda: [len(forwarders(proxy)), len(gateways(proxy))] == [2, 1], 20, "no process is left over"
    )
    eventually(lambda: len(descriptors(proxy.process.pid)) <= held, 10, "the supervisor's descriptors")
    assert "Traceback" not in proxy.process.log.read_text()


def _cap_comes_back(proxy: RunningBascule) -> None:
    """Open as many sessions as the cap allows, and one that it does not."""
    eventually(lambda: proxy.in_flight_if_up == 0, 20, "all leases are back")
    clients: list[RawClient] = []
    try:
        while len(clients) < CAP:
            clients.append(client := connect(proxy.public_url))
            client.open(b"/echo")
            client.say(b"hello")
            if (said := client.reply()).opcode == CLOSE:  # a forwarder is being started
                assert said.reason == b"No forwarder can take a session"
                clients.pop().close()
            else:
                assert said.payload == b"hello"
        clients.append(client := connect(proxy.public_url))
        client.open(b"/echo")
        assert client.reply().reason == b"WebSocket session cap reached (maxSessionsPerApp)"
    finally:
        for client in clients:
            client.close()


@pytest.mark.parametrize("name", EVENTS)
def test_a_stop_meanwhile_ends_all_in_time(scene: Scene, name: str) -> None:
    supervisor = scene.proxy.process.process
    EVENTS[name].happens(scene)
    family = set(children(supervisor.pid))
    supervisor.send_signal(signal.SIGTERM)
    scene.answers.set()
    scene.go_on()
    _stops(scene, family)


def test_a_stop_waits_for_no_process_that_stands_still(scene: Scene) -> None:
    supervisor = scene.proxy.process.process
    family = set(children(supervisor.pid))
    supervisor.send_signal(signal.SIGTERM)
    scene.answers.set()
    _stops(scene, family)


def _stops(scene: Scene, family: set[int]) -> None:
    supervisor = scene.proxy.process.process
    assert supervisor.wait(15) == 0
    assert not [pid for pid in family if alive(pid)]
    for session in scene.sessions:
        session.client.goodbye()
        eventually(lambda: session.call.socket.fileno() < 0, 10, "the upstream's connection has ended")  # noqa: B023
    lines = Counter(line["id"] for line in scene.proxy.events("session ended"))
    assert set(lines.values()) <= {1}
    assert "Traceback" not in scene.proxy.process.log.read_text()
