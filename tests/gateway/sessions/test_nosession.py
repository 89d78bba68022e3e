"""Each upgrade that becomes no session is counted, answered and logged once, whatever the reason."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from bascule.configuration.config import Limits
from bascule.configuration.route import AuthMode, RouteConfig
from bascule.configuration.templates import UpstreamTemplate
from bascule.errors import NotPermitted, RequestRefused
from bascule.gateway.connections.legs import PlainLeg
from bascule.gateway.exchanges import ExchangeCount
from bascule.gateway.life import Stage
from bascule.gateway.sessions.asked import Asked
from bascule.gateway.sessions.nosession import NoSession, NoSessions
from bascule.gateway.sessions.refusal import Refuser
from bascule.gateway.sessions.refusal_table import REFUSAL_TABLE
from bascule.gateway.upstreams.handshake import Answered
from bascule.handover.counters import GatewayWord
from bascule.policy.clientaccount import Arrival
from bascule.policy.login import Login
from bascule.policy.routes import Match
from bascule.protocol.body import framing_of
from bascule.protocol.handshake import check_request
from bascule.protocol.http1 import parse_request_head, parse_response_head
from bascule.telemetry.errand import Client
from bascule.vocabulary import Refusal
from tests.gateway.lives import at
from tests.support.rawclient import upgrade

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bascule.configuration.route import RejectMode

CLIENT = Client("10.0.0.1", "x-1")
EXPLAINED = tuple(why for why in Refusal if why not in (Refusal.HANDSHAKE, Refusal.NOT_PERMITTED))
"""What a request that breaks no rule may meet."""


class World:
    """A browser that is told why it has no session.

    Attributes:
        browser: Its end.
        lines: Reason, whose, and fields of each line of the log.
    """

    def __init__(self, mode: RejectMode = "close") -> None:
        limits = Limits(reject_mode=mode)
        self.words = memoryview(bytearray(8 * len(GatewayWord))).cast("Q")
        self.lines: list[tuple[Refusal, Any, dict[str, Any]]] = []
        log: Any = SimpleNamespace(session_refused=self._log)
        self.exchanges = ExchangeCount(1, self.words)
        self.no_sessions = NoSessions(
            limits, Refuser(limits, at(Stage.SERVING)), log, self.words, self.exchanges
        )
        self.browser, ours = socket.socketpair()
        self.leg = PlainLeg(asyncio.get_running_loop(), ours)
        ours.setblocking(False)

    def _log(self, why: Refusal, whose: Any, **fields: Any) -> None:
        self.lines.append((why, whose, {key: value for key, value in fields.items() if value is not None}))

    @property
    def match(self) -> Match:
        address = UpstreamTemplate.parse("http://app:80", {}).address({})
        assert address is not None
        route = RouteConfig.model_construct(
            name="app", path="/", upstream="http://app:80", auth=AuthMode.NONE
        )
        return Match(route, address, b"/", b"", None)

    @property
    def asked(self) -> Asked:
        head = parse_request_head(upgrade(), 100)
        arrival = Arrival("10.0.0.1", "10.0.0.1", b"http", b"front")
        return Asked(
            self.leg, head, b"", CLIENT, arrival, check_request(head), self.match, Login("ann", None)
        )

    async def answer(self) -> bytes:
        """Return all that the browser is told."""
        self.browser.shutdown(socket.SHUT_WR)
        loop, told = asyncio.get_running_loop(), b""
        self.browser.setblocking(False)
        while chunk := await loop.sock_recv(self.browser, 65536):
            told += chunk
        return told

    def counted(self) -> dict[str, int]:
        return {GatewayWord(word).name: count for word, count in enumerate(self.words) if count}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    world.browser.close()


@pytest.mark.parametrize("why", EXPLAINED)
async def test_each_reason_is_counted_and_logged_once_and_told_by_its_close(
    why: Refusal, world: World
) -> None:
    telling = asyncio.create_task(world.no_sessions.explain(world.asked, NoSession(why, detail="so it is")))
    told = await world.answer()
    await telling
    row = REFUSAL_TABLE[why]
    others = {"DISTINCT_REJECTED_CLIENTS": 1} if why is Refusal.CAP else {}
    assert world.counted() == {row.word.name: 1} | others
    ((logged, whose, fields),) = world.lines
    assert (logged, whose.client, whose.user, fields["detail"]) == (why, "10.0.0.1", "ann", "so it is")
    if row.code is None:
        assert told == b""
        assert "close_code" not in fields
    else:
        assert told.startswith(b"HTTP/1.1 101 ")
        assert told.endswith(int(row.code).to_bytes(2, "big") + row.reason.encode())
        assert fields["close_code"] == row.code


async def test_a_503_takes_the_place_of_the_close_where_the_configuration_says_so() -> None:
    world = World("http503")
    assert world.no_sessions.refuse(world.asked, Refusal.DRAINING) is None, "nothing is left for a task"
    told = await world.answer()
    assert told.startswith(b"HTTP/1.1 503 ")
    ((_, _, fields),) = world.lines
    assert fields == {"status": 503}
    world.browser.close()


@pytest.mark.parametrize(
    ("refused", "word", "user"),
    [
        (RequestRefused(403, "The origin is another."), "HANDSHAKES_REFUSED", None),
        (NotPermitted("You are no teacher.", "ann"), "NOT_PERMITTED", "ann"),
    ],
)
async def test_a_request_that_breaks_a_rule_gets_an_error_and_is_logged_with_what_is_known_of_it(
    refused: RequestRefused, word: str, user: str | None, world: World
) -> None:
    telling = asyncio.create_task(world.no_sessions.not_admitted(world.leg, refused, CLIENT, world.match))
    told = await world.answer()
    await telling
    assert told.startswith(b"HTTP/1.1 403 ")
    assert refused.detail.encode() in told
    assert world.counted() == {word: 1}
    ((_, whose, fields),) = world.lines
    assert (whose.route, whose.user, whose.request_id) == ("app", user, "x-1")
    assert fields == {"status": 403, "detail": refused.detail}


async def test_a_request_without_a_route_is_logged_with_its_client(world: World) -> None:
    telling = asyncio.create_task(
        world.no_sessions.not_admitted(world.leg, RequestRefused(404, "No route."), CLIENT, None)
    )
    await world.answer()
    await telling
    assert [whose for _, whose, _ in world.lines] == [CLIENT]


async def test_a_browser_that_has_left_is_counted_and_logged_as_well(world: World) -> None:
    world.browser.close()
    await world.no_sessions.explain(
        world.asked, NoSession(Refusal.UPSTREAM, 502, answer=RequestRefused(502, ""))
    )
    assert world.counted() == {"UPSTREAM_REFUSED": 1}
    assert len(world.lines) == 1


@pytest.mark.parametrize("fits", [True, False])
async def test_an_upstreams_own_answer_is_relayed_as_an_exchange_if_one_more_fits(
    fits: bool, world: World
) -> None:
    if not fits:
        assert world.exchanges.begin()
    theirs, ours = socket.socketpair()
    ours.setblocking(False)
    head = parse_response_head(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n", 10)
    answered = Answered(PlainLeg(asyncio.get_running_loop(), ours), head, b"no", framing_of(head))
    telling = asyncio.create_task(
        world.no_sessions.explain(world.asked, NoSession(Refusal.UPSTREAM, 403, answer=answered))
    )
    told = await world.answer()
    await telling
    assert told.startswith(b"HTTP/1.1 403 Forbidden\r\n" if fits else b"HTTP/1.1 503 ")
    assert theirs.recv(1) == b"", "it is closed"
    theirs.close()
    assert world.words[GatewayWord.HTTP_IN_FLIGHT] == (0 if fits else 1), "our exchange is over"
