"""What goes wrong before the hand-over leaves nothing held; who retires waits no longer than needed."""

from __future__ import annotations

import asyncio
import socket
import struct
from types import SimpleNamespace
from typing import Any

import pytest

from bascule.gateway.admission import Admission
from bascule.gateway.exchanges import ExchangeCount
from bascule.gateway.legs import PlainLeg
from bascule.gateway.life import Stage
from bascule.gateway.proxyheader import Peer
from bascule.gateway.refusal import Refuser
from bascule.gateway.registry import Registry
from bascule.gateway.upgrade import UpgradeRequest
from bascule.gateway.upstream import Switched, Unreachable
from bascule.handover.counters import GatewayWord
from bascule.policy.budget import SessionBudget
from bascule.policy.config import Config
from bascule.policy.requestrules import RequestRules
from bascule.policy.routeconfig import AuthMode, RouteConfig
from bascule.policy.routes import Match
from bascule.policy.templates import UpstreamTemplate
from bascule.protocol.handshake import Agreement
from bascule.protocol.http1 import parse_request_head
from tests.gateway.lives import at
from tests.support.rawclient import upgrade


class World:
    """An admission whose only route leads to an upstream that has said 101.

    Args:
        route: Name of the route; a configuration would refuse one that is too long.

    Attributes:
        browser: The browser's end, and ours.
        upstream: The upstream's end, and ours.
        budget: The leases.
        handed: What forwarders were given.
        answers: Set when the upstream answers.
        reachable: Whether it can be reached.
    """

    def __init__(self, route: str) -> None:
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
        self.answers = asyncio.Event()
        self.reachable = True
        self.budget = SessionBudget(10)
        words = memoryview(bytearray(8 * len(GatewayWord))).cast("Q")
        fakes: Any = SimpleNamespace(
            match=lambda *_: match,
            require=None,
            has_room=lambda: True,
            open=self._open,
            hand_over=self.handed.append,
            session_refused=lambda *_, **__: None,
        )
        self.admission = Admission(
            config=config, rules=RequestRules(config, fakes, fakes.require, b"here"), budget=self.budget,
            registry=Registry(), dispatch=fakes, dialler=fakes, refuser=Refuser(config.limits, life),
            access_log=fakes, words=words, exchanges=ExchangeCount(10, words), life=life, generation=0,
        )  # fmt: skip

    def leg(self, ours: socket.socket) -> PlainLeg:
        ours.setblocking(False)
        return PlainLeg(asyncio.get_running_loop(), ours)

    async def _open(self, *_: object) -> Switched:
        await self.answers.wait()
        if not self.reachable:
            raise Unreachable("connect timed out")
        return Switched(self.leg(self.upstream[1]), Agreement(0, 0, ()), b"")

    async def upgrade(self) -> None:
        """Ask for a session."""
        head = parse_request_head(upgrade(), 100)
        leg = self.leg(self.browser[1])
        await self.admission.upgrade(UpgradeRequest(leg, head, b"", Peer("10.0.0.1")))

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


@pytest.mark.parametrize("how", ["unreachable", "taken", "left"])
async def test_a_gateway_that_retires_goes_on_in_the_turn_in_which_the_last_handshake_is_over(
    how: str,
) -> None:
    world = World("app")
    world.reachable = how != "unreachable"
    asking = asyncio.create_task(world.upgrade())
    await asyncio.sleep(0)
    settling = asyncio.create_task(world.admission.settle(60))
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
