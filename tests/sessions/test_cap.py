"""The cap and its refusals: exact under a race, counted once, the first at once, repeats held."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.bascule import RunningBascule, run_bascule
from tests.support.figures import Figures
from tests.support.frames import CLOSE, KEY, TEXT, close
from tests.support.processes import reserve_port
from tests.support.rawclient import connect, upgrade
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.rawclient import Answer, Clients, RawClient
    from tests.support.rawupstream import Call, RawUpstream

CAP = 20
HOLD_MAX = 2.0
MAX_HELD = 2
MAX_HTTP = 5

FULL = b"WebSocket session cap reached (maxSessionsPerApp)"


@pytest.fixture(scope="module")
def bascule(upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBascule]:
    config = {
        "routes": [
            {"name": "lab", "kind": "jupyter", "path": "/lab", "upstream": upstream.url},
            {"name": "shell", "kind": "terminal", "path": "/shell", "upstream": upstream.url},
            {"name": "app", "kind": "app", "path": "/app", "upstream": upstream.url},
        ],
        "websocketProxy": {"maxSessionsPerApp": CAP},
        "forwarders": {"count": 2},
        "trustedProxies": ["127.0.0.1/32"],
        "limits": {
            "refusalHoldMax": f"{HOLD_MAX:g}s",
            "maxHeldRefusals": MAX_HELD,
            "maxHttpRequests": MAX_HTTP,
        },
    }
    with run_bascule(tmp_path_factory.mktemp("bascule"), config) as running:
        yield running


@pytest.fixture
def full(bascule: RunningBascule) -> Iterator[list[RawClient]]:
    """Fill the proxy with sessions of all kinds."""
    sessions = []
    for number in range(CAP):
        client = connect(bascule.public_url)
        client.open((b"/lab", b"/shell", b"/app")[number % 3])
        sessions.append(client)
    yield sessions
    for client in sessions:
        client.close()
    eventually(lambda: bascule.in_flight == 0, 10, "all sessions have ended")


_next_client = iter(range(1, 1000))


@pytest.fixture
def somebody() -> bytes:
    """Return a field that makes a client nobody has seen."""
    return b"X-Forwarded-For: 203.0.113.%d" % next(_next_client)


def _refused(client: RawClient, *more: bytes, path: bytes = b"/lab") -> tuple[Answer, float]:
    """Ask, and return the 101 and after how many seconds the Close came."""
    start = time.monotonic()
    client.send(upgrade(path, *more))
    answer = client.head()
    assert answer.status == 101
    said = client.refusal()
    assert (said.opcode, said.code, said.reason) == (CLOSE, 1013, FULL)
    client.send(close(1013, key=KEY))
    return answer, time.monotonic() - start


# -- the cap --------------------------------------------------------------------------------------


def test_refusals_of_the_upstream_that_are_being_relayed_are_bounded_and_take_no_slot(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients
) -> None:
    def refuse(call: Call) -> None:
        call.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 1000000\r\n\r\nno")
        call.until_over()

    upstream.scripts[b"/app/refuses"] = refuse
    told = [connect(bascule.public_url) for _ in range(MAX_HTTP)]
    for client in told:
        client.send(upgrade(b"/app/refuses"))
        assert client.head().status == 403
    assert bascule.in_flight == 0
    one_more = clients(bascule.public_url)
    one_more.send(upgrade(b"/app/refuses"))
    answer = one_more.head()
    assert (answer.status, answer.value(b"Retry-After")) == (503, b"1")
    one_more.goodbye()
    for client in told:
        client.close()
    eventually(lambda: bascule.metric("bascule_http_requests_in_flight") == 0, 10, "all have left")


def test_a_race_of_twice_the_cap_admits_exactly_the_cap(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients
) -> None:  # 87
    figures = Figures(bascule)
    racers = [clients(bascule.public_url) for _ in range(2 * CAP)]
    before = len(upstream.calls)
    for number, client in enumerate(racers):
        client.send(upgrade(b"/lab", b"X-Forwarded-For: 198.51.100.%d" % number))
    assert [client.head().status for client in racers] == [101] * (2 * CAP)
    for client in racers:
        client.say(b"hello")
    said = [client.frame() for client in racers]
    admitted = [client for client, found in zip(racers, said, strict=True) if found.opcode == TEXT]
    refused = [found for found in said if found.opcode == CLOSE]
    assert (len(admitted), len(refused)) == (CAP, CAP)
    assert {(found.code, found.reason) for found in refused} == {(1013, FULL)}
    assert len(upstream.calls) - before == CAP
    assert bascule.in_flight == CAP
    assert figures.moved()["ws_connection_rejections_total"] == CAP
    for client in racers:
        client.close()
    eventually(lambda: bascule.in_flight == 0, 10, "all sessions have ended")
    moved = figures.moved()
    assert moved["ws_connection_rejections_total"] == moved["bascule_rejected_clients_total"] == CAP


def test_all_kinds_draw_on_the_one_budget(
    bascule: RunningBascule, full: list[RawClient], clients: Clients
) -> None:
    kinds = {kind: bascule.metric("bascule_sessions", kind=kind) for kind in ("jupyter", "terminal", "app")}
    assert sum(kinds.values()) == len(full) == CAP
    assert min(kinds.values()) > 0
    for number, path in enumerate((b"/lab", b"/shell", b"/app")):
        _refused(clients(bascule.public_url), b"X-Forwarded-For: 192.0.2.%d" % number, path=path)


def test_a_refusal_moves_its_counters_and_touches_no_upstream(
    bascule: RunningBascule, upstream: RawUpstream, full: list[RawClient], clients: Clients, somebody: bytes
) -> None:
    figures = Figures(bascule)
    heard = upstream.connections
    _refused(clients(bascule.public_url), somebody)
    figures.settle({"ws_connection_rejections_total": 1, "bascule_rejected_clients_total": 1})
    assert upstream.connections == heard


@pytest.mark.parametrize(
    ("offered", "echoed"),
    [
        (b"v1.kernel.websocket.jupyter.org", b"v1.kernel.websocket.jupyter.org"),
        (b"streamlit, secret, x", b"streamlit"),
    ],
    ids=["jupyter", "streamlit"],
)
def test_a_refusal_echoes_the_first_subprotocol(
    bascule: RunningBascule,
    full: list[RawClient],
    clients: Clients,
    somebody: bytes,
    offered: bytes,
    echoed: bytes,
) -> None:
    answer, _ = _refused(clients(bascule.public_url), somebody, b"Sec-WebSocket-Protocol: " + offered)
    assert answer.value(b"Sec-WebSocket-Protocol") == echoed
    assert answer.values(b"Sec-WebSocket-Extensions") == []


def test_a_session_that_ends_makes_room(
    bascule: RunningBascule, full: list[RawClient], clients: Clients, somebody: bytes
) -> None:
    _refused(clients(bascule.public_url), somebody)
    leaver = full.pop()
    leaver.send(close(1000, key=KEY))
    leaver.goodbye()
    leaver.close()
    eventually(lambda: bascule.in_flight == CAP - 1, 5, "the lease is given back")
    newcomer = clients(bascule.public_url)
    newcomer.open(b"/lab", somebody)
    newcomer.say(b"in")
    assert newcomer.frame().payload == b"in"
    _refused(clients(bascule.public_url), b"X-Forwarded-For: 192.0.2.77")
    newcomer.close()
    eventually(lambda: bascule.in_flight == CAP - 1, 5, "the lease is given back")


def test_a_refused_socket_is_no_session(
    bascule: RunningBascule, full: list[RawClient], clients: Clients, somebody: bytes
) -> None:
    _refused(clients(bascule.public_url), somebody)
    held = clients(bascule.public_url)
    held.send(upgrade(b"/lab", somebody))
    assert held.head().status == 101
    assert bascule.in_flight == CAP
    assert len(bascule.sessions()) == CAP


# -- holding repeats ------------------------------------------------------------------------------


def test_the_first_refusal_is_immediate_and_each_repeat_waits_longer(
    bascule: RunningBascule, full: list[RawClient], clients: Clients, somebody: bytes
) -> None:
    figures = Figures(bascule)
    before = len(bascule.events("session refused"))
    waits = [_refused(clients(bascule.public_url), somebody)[1] for _ in range(4)]
    # Half of 0.5, 1 and 2 seconds at least, and never over the most.
    assert [wait >= least for wait, least in zip(waits, (0.0, 0.25, 0.5, 1.0), strict=True)] == [True] * 4
    eventually(lambda: len(bascule.events("session refused")) == before + 4, 5, "a line for each")
    held = [line.get("held_seconds") for line in bascule.events("session refused")[before:]]
    assert held[0] is None
    assert all(seconds is not None and seconds <= HOLD_MAX for seconds in held[1:])
    figures.settle(
        {
            "ws_connection_rejections_total": 4,
            "bascule_rejected_clients_total": 1,
            "bascule_refusals_held_total": 3,
        }
    )


def test_another_client_and_another_path_are_not_held(
    bascule: RunningBascule, full: list[RawClient], clients: Clients, somebody: bytes
) -> None:
    figures = Figures(bascule)
    _refused(clients(bascule.public_url), somebody)
    _refused(clients(bascule.public_url), somebody, path=b"/app")
    _refused(clients(bascule.public_url), b"X-Forwarded-For: 192.0.2.200")
    assert "bascule_refusals_held_total" not in figures.moved()


def test_the_query_does_not_make_another_path(
    bascule: RunningBascule, full: list[RawClient], clients: Clients, somebody: bytes
) -> None:
    # JupyterLab's session_id changes with every reload.
    _refused(clients(bascule.public_url), somebody, path=b"/lab?session_id=1")
    _, wait = _refused(clients(bascule.public_url), somebody, path=b"/lab?session_id=2")
    assert wait >= 0.25


def _hold(bascule: RunningBascule, clients: Clients, who: bytes) -> RawClient:
    """Return a client whose repeat is being held."""
    for _ in range(3):
        _refused(clients(bascule.public_url), who)
    return _asking(bascule, clients, who)


def _asking(bascule: RunningBascule, clients: Clients, who: bytes) -> RawClient:
    """Return a client that has its 101, and is told the rest sooner or later."""
    client = clients(bascule.public_url)
    client.send(upgrade(b"/lab", who))
    assert client.head().status == 101
    return client


def test_held_refusals_are_bounded_and_above_the_bound_nobody_waits(
    bascule: RunningBascule, full: list[RawClient], clients: Clients
) -> None:
    who = [b"X-Forwarded-For: 192.0.2.%d" % number for number in range(101, 105)]
    for _ in range(3):
        for client in [_asking(bascule, clients, field) for field in who]:
            assert client.refusal().code == 1013
            client.send(close(1013, key=KEY))
    # The next refusals of each would be held for a second and more.
    waiting = [_asking(bascule, clients, field) for field in who]
    said_at_once = [client for client in waiting if b"maxSessionsPerApp" in client.buffer]
    if len(said_at_once) < len(who) - MAX_HELD:
        said_at_once = [client for client in waiting if not client.silent(0.05)]
    assert len(said_at_once) == len(who) - MAX_HELD
    assert [client.refusal().code for client in waiting] == [1013] * len(who)


def test_a_held_client_that_leaves_frees_its_place(
    bascule: RunningBascule, full: list[RawClient], clients: Clients, somebody: bytes
) -> None:
    before = len(bascule.events("session refused"))
    held = _hold(bascule, clients, somebody)
    held.close()
    eventually(
        lambda: len(bascule.events("session refused")) == before + 4,
        10,
        "it has its line",
    )
    line = bascule.events("session refused")[-1]
    assert line["held_seconds"] < HOLD_MAX / 2, "it is noticed long before the hold ends"
    assert "close_code" not in line, "it was told nothing"


def test_a_client_that_got_in_is_forgiven(
    bascule: RunningBascule, full: list[RawClient], clients: Clients, somebody: bytes
) -> None:
    _refused(clients(bascule.public_url), somebody)
    full.pop().close()
    eventually(lambda: bascule.in_flight == CAP - 1, 10, "there is room")
    inside = clients(bascule.public_url)
    inside.open(b"/lab", somebody)
    figures = Figures(bascule)
    _refused(clients(bascule.public_url), somebody)
    assert "bascule_refusals_held_total" not in figures.moved()


def test_a_held_client_may_send_what_it_likes(
    bascule: RunningBascule, full: list[RawClient], clients: Clients, somebody: bytes
) -> None:
    # JupyterLab sends a kernel-info request as soon as the socket opens.
    held = _hold(bascule, clients, somebody)
    held.say(b"kernel_info_request")
    assert held.refusal().code == 1013


def test_a_held_client_that_floods_is_not_read_for_ever(
    bascule: RunningBascule, full: list[RawClient], clients: Clients, somebody: bytes
) -> None:
    figures = Figures(bascule)
    held = _hold(bascule, clients, somebody)
    held.socket.settimeout(0.3)
    taken = 0
    with contextlib.suppress(OSError):
        while taken < 1 << 27:
            taken += held.socket.send(bytes(1 << 20))
    assert taken < 1 << 26  # what the kernel's own buffers hold, and a megabyte
    held.close()
    eventually(lambda: figures.moved().get("bascule_refusals_held_total") == 3, 10, "its hold is over")


# -- by status ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def by_status(upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBascule]:
    config = {
        "routes": [
            {"name": "dead", "path": "/dead", "upstream": f"http://127.0.0.1:{reserve_port()}"},
            {"name": "lab", "path": "/lab", "upstream": upstream.url, "rejectMode": "close"},
            {"name": "app", "path": "/", "upstream": upstream.url},
        ],
        "websocketProxy": {"maxSessionsPerApp": 1},
        "forwarders": {"count": 1},
        "trustedProxies": ["127.0.0.1/32"],
        "limits": {"rejectMode": "http503", "refusalHoldMax": "30s"},
    }
    with run_bascule(tmp_path_factory.mktemp("bascule"), config) as running:
        yield running


def test_who_wants_a_status_gets_one_with_the_reason_and_the_same_counts(
    by_status: RunningBascule, clients: Clients, somebody: bytes
) -> None:
    eventually(lambda: by_status.in_flight == 0, 10, "there is room")
    clients(by_status.public_url).open()
    figures = Figures(by_status)
    refused = clients(by_status.public_url)
    refused.send(upgrade(b"/", b"Sec-WebSocket-Protocol: mine", somebody))
    answer = refused.answer()
    assert (answer.status, answer.value(b"Retry-After"), answer.body) == (503, b"1", FULL + b"\n")
    refused.goodbye()
    figures.settle({"ws_connection_rejections_total": 1, "bascule_rejected_clients_total": 1})
    (line,) = eventually(lambda: _told_of(by_status, "cap", "app"), 10, "it has its line")
    assert line["status"] == 503
    assert "close_code" not in line


def test_a_route_is_refused_in_its_own_way(
    by_status: RunningBascule, clients: Clients, somebody: bytes
) -> None:
    eventually(lambda: by_status.in_flight == 0, 10, "there is room")
    clients(by_status.public_url).open()
    refused = clients(by_status.public_url)
    refused.send(upgrade(b"/lab", somebody))
    assert refused.head().status == 101
    assert refused.refusal().code == 1013

    (line,) = eventually(lambda: _told_of(by_status, "cap", "lab"), 10, "it has its line")
    assert line["close_code"] == 1013


def _told_of(bascule: RunningBascule, reason: str, route: str) -> list[dict[str, Any]]:
    """Return the lines of refusals for a reason on a route."""
    return [
        line
        for line in bascule.events("session refused")
        if (line["reason"], line["route"]) == (reason, route)
    ]


def test_an_upstream_that_is_not_there_is_a_status_too_and_repeats_are_held(
    by_status: RunningBascule, clients: Clients, somebody: bytes
) -> None:
    eventually(lambda: by_status.in_flight == 0, 10, "there is room")
    took = []
    for _ in range(2):
        refused = clients(by_status.public_url)
        start = time.monotonic()
        refused.send(upgrade(b"/dead", somebody))
        answer = refused.answer()
        took.append(time.monotonic() - start)
        assert (answer.status, answer.body) == (503, b"WebSocket upstream is not reachable\n")
    assert took[1] >= 0.25
    eventually(lambda: by_status.metric("bascule_refusals_held_total") == 1, 5, "it is counted")
