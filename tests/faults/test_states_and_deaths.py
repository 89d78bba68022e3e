"""Who ends a session, and who counts it, when processes die, stand still or are replaced.

Each event happens to one proxy whose forwarders have a session in each state. `EVENTS` says what becomes of
it, as docs/explanation/when-processes-die.md does for operators; a test below holds the two together.
"""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from bascule.vocabulary import Cause
from tests.faults.events import EVENTS, Fate
from tests.faults.scene import CAP, Scene, Session, State, set_scene
from tests.support.frames import CLOSE
from tests.support.proctree import alive, children, descriptors, forwarders, gateways
from tests.support.rawclient import connect
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Start
    from tests.support.bascule import RunningBascule
    from tests.support.rawclient import RawClient

PAGE: Final = Path(__file__).parents[2] / "docs/explanation/when-processes-die.md"

COLUMNS: Final = (
    {State.OFFERED},
    {State.IDLE, State.TRANSFER, State.CLOSING},
    {State.TLS},
    {State.UNREAD},
)
"""The columns of the page's table, behind that of the events."""


@pytest.fixture
def scene(bascule: Start, tmp_path: Path) -> Iterator[Scene]:
    with set_scene(bascule, tmp_path) as scene:
        yield scene


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
