"""An attempt that goes wrong leaves nothing held; who retires waits for attempts no longer than needed."""

from __future__ import annotations

import asyncio
import socket
import struct
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from bascule.configuration.config import Config
from bascule.configuration.route import AuthMode, RouteConfig
from bascule.configuration.templates import UpstreamTemplate
from bascule.gateway.connections.legs import PlainLeg
from bascule.gateway.connections.proxyheader import Peer
from bascule.gateway.exchanges import ExchangeCount
from bascule.gateway.life import Stage
from bascule.gateway.listening.upgrade import UpgradeRequest
from bascule.gateway.sessions.admission import Admission
from bascule.gateway.sessions.attempt import Attempts
from bascule.gateway.sessions.nosession import NoSessions
from bascule.gateway.sessions.refusal import Refuser
from bascule.gateway.sessions.registry import Registry
from bascule.gateway.upstreams.dialler import Unreachable
from bascule.gateway.upstreams.handshake import Switched
from bascule.handover.counters import GatewayWord
from bascule.policy.budget import SessionBudget
from bascule.policy.requestrules import RequestRules
from bascule.policy.routes import Match
from bascule.protocol.handshake import Agreement
from bascule.protocol.http1 import parse_request_head
from bascule.vocabulary import Refusal
from tests.gateway.lives import at
from tests.support.rawclient import upgrade
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from collections.abc import Callable


class World:
    """An admission whose only route leads to an upstream that has said 101.

    Args:
        route: Name of the route; a configuration would refuse one that is too long.
        at_once: Whether the upstream is asked without a wait.

    Attributes:
        browser: The browser's end, and ours.
        upstream: The upstream's end, and ours.
        budget: The leases.
        handed: What forwarders were given.
        refused: Why there was no session, each time.
        answers: Set when the upstream answers.
        reachable: Whether it can be reached.
        fault: What is raised when its answer is read.
    """

    def __init__(self, route: str, *, at_once: bool = False) -> None:
        config, life = Config(), at(Stage.SERVING)
        address = UpstreamTemplate.parse("http://app:80", {}).address({})
        assert address is not None
        match = Match(
            RouteConfig.model_construct(name=route, path="/", upstream="http://app:80", auth=AuthMode.NONE),
            address, b"/", b"", None,
        )  # fmt: skip
        self.browser, self.upstream = socket.socketpair(), socket.socketpair()
        for end in (self.browser[0], self.upstream[0]):
            end.settimeout(5)
        self.handed: list[Any] = []
        self.refused: list[Refusal] = []
        self.answers = asyncio.Event()
        self.reachable = True
        self.at_once = at_once
        self.fault: Exception | None = None
        self.budget = SessionBudget(10)
        words = memoryview(bytearray(8 * len(GatewayWord))).cast("Q")
        refuser = Refuser(config.limits, life)
        fakes: Any = SimpleNamespace(
            match=lambda *_: match,
            require=None,
            has_room=lambda: True,
            dial=self._dial,
            hand_over=self.handed.append,
            session_refused=lambda why, *_, **__: self.refused.append(why),
        )
        rules = RequestRules(config, fakes, fakes.require, b"here")
        no_sessions = NoSessions(config.limits, refuser, fakes, words, ExchangeCount(10, words))
        self.attempts = Attempts(
            config=config, rules=rules, budget=self.budget, registry=Registry(), dispatch=fakes,
            dial=fakes.dial, no_sessions=no_sessions, hold_off=refuser.hold_off, words=words, generation=0,
        )  # fmt: skip
        self.admission = Admission(
            config=config, rules=rules, budget=self.budget, attempts=self.attempts, no_sessions=no_sessions,
            life=life,
        )  # fmt: skip

    def leg(self, ours: socket.socket) -> PlainLeg:
        ours.setblocking(False)
        return PlainLeg(asyncio.get_running_loop(), ours)

    def _dial(self, *_: object) -> SimpleNamespace:
        return SimpleNamespace(begin=self._begin, hear=self._hear, give_up=self._give_up, finish=self._finish)

    def _begin(self, arrived: Callable[[], None]) -> bool:
        if self.at_once:
            self.arrived = arrived
        return self.at_once

    def _hear(self) -> Switched | None:
        if self.fault is not None:
            raise self.fault
        return self._switched() if self.reachable else None

    def _give_up(self) -> None:
        self.upstream[1].close()

    async def _finish(self) -> Switched:
        await self.answers.wait()
        if not self.reachable:
            raise Unreachable("connect timed out")
        return self._switched()

    def _switched(self) -> Switched:
        return Switched(self.leg(self.upstream[1]), Agreement(0, 0, ()), b"")

    async def upgrade(self) -> None:
        """Ask for a session."""
        head = parse_request_head(upgrade(), 100)
        leg = self.leg(self.browser[1])
        if (rest := self.admission.upgrade(UpgradeRequest(leg, head, b"", Peer("10.0.0.1")))) is not None:
            await rest

    def close(self) -> None:
        for end in (*self.browser, *self.upstream):
            end.close()


async def test_a_session_that_cannot_be_told_to_a_forwarder_holds_nothing() -> None:
    world = World("x" * 70_000)  # longer than its tag may be
    world.answers.set()
    with pytest.raises(struct.error):
        await world.upgrade()
    assert world.budget.in_use == len(world.handed) == 0
    assert [end.recv(1) for end in (world.browser[0], world.upstream[0])] == [b"", b""]
    world.close()


async def test_an_answer_that_cannot_be_told_to_a_forwarder_leaves_nothing_held() -> None:
    world = World("x" * 70_000, at_once=True)
    await world.upgrade()
    assert world.budget.in_use == 1
    with pytest.raises(struct.error):
        world.arrived()
    assert world.budget.in_use == len(world.handed) == 0
    assert [end.recv(1) for end in (world.browser[0], world.upstream[0])] == [b"", b""]
    world.close()


async def test_a_fault_of_ours_while_an_answer_is_read_leaves_nothing_held() -> None:
    world = World("app", at_once=True)
    await world.upgrade()
    world.fault = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        world.arrived()
    assert world.budget.in_use == len(world.attempts.expecting) == 0
    assert [end.recv(1) for end in (world.browser[0], world.upstream[0])] == [b"", b""]
    world.close()


async def test_an_upstream_that_is_asked_at_once_is_waited_for_without_a_task() -> None:
    world = World("app", at_once=True)
    before = asyncio.all_tasks()
    await world.upgrade()
    assert asyncio.all_tasks() == before
    assert (world.budget.in_use, world.handed) == (1, [])
    world.arrived()
    (handed,) = world.handed
    assert asyncio.all_tasks() == before
    handed.taken(0)
    assert world.budget.in_use == 1, "it is the session's"
    assert not len(world.attempts.expecting)
    world.close()


async def test_an_answer_that_is_no_plain_101_is_a_matter_for_a_task() -> None:
    world = World("app", at_once=True)
    world.reachable = False
    world.answers.set()
    await world.upgrade()
    world.arrived()
    await eventually_async(lambda: world.refused == [Refusal.UNREACHABLE], 5, "it is refused")
    assert world.budget.in_use == 0
    world.browser[0].close()
    world.close()


@pytest.mark.parametrize("who", ["browser", "we"])
async def test_the_wait_for_an_answer_ends_when_the_browser_leaves_or_we_do(who: str) -> None:
    world = World("app", at_once=True)
    await world.upgrade()
    looks = world.attempts.expecting
    looks._seconds = 0.0
    for expecting in looks:
        looks.leave(expecting)
        expecting.look()
    assert (len(looks), world.budget.in_use) == (1, 1), "all are there"
    if who == "browser":
        world.browser[0].close()
        looks._look()
    else:
        await world.attempts.settle(0.01)
    assert world.budget.in_use == 0
    assert world.upstream[0].recv(1) == b""
    why = Refusal.GONE if who == "browser" else Refusal.DRAINING
    if who == "we":
        assert await asyncio.to_thread(world.browser[0].recv, 12) == b"HTTP/1.1 101"
        world.browser[0].close()
    await eventually_async(lambda: world.refused == [why], 5, "it is told why")
    assert not len(looks)
    world.close()


@pytest.mark.parametrize("how", ["unreachable", "taken", "left"])
async def test_a_gateway_that_retires_goes_on_in_the_turn_in_which_the_last_handshake_is_over(
    how: str,
) -> None:
    world = World("app")
    world.reachable = how != "unreachable"
    asking = asyncio.create_task(world.upgrade())
    await asyncio.sleep(0)
    settling = asyncio.create_task(world.attempts.settle(60))
    await asyncio.sleep(0)
    world.answers.set()
    if world.reachable:
        await asking
        await asyncio.sleep(0)
        assert not settling.done(), "a forwarder has still to take it"
        (handed,) = world.handed
        if how == "taken":
            handed.taken(0)
        else:
            handed.left()
    for _ in range(5):  # it is some tasks that have to run, one after another
        await asyncio.sleep(0)
    assert settling.done()
    world.browser[0].close()
    await asyncio.wait_for(asking, 5)
    world.close()
