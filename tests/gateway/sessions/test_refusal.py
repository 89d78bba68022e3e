"""How long a refusal was held is what is said of it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import pytest

from bascule.configuration.config import Limits
from bascule.gateway.connections import farewell
from bascule.gateway.connections.legs import PlainLeg
from bascule.gateway.life import Life, Stage
from bascule.gateway.sessions.refusal import Refuser, Refusing
from bascule.protocol.frames import CloseCode
from bascule.protocol.handshake import Offer
from tests.gateway.lives import at
from tests.support.farends import fill, unix_pair
from tests.support.frames import BINARY, KEY, TEXT, close, frame, frames_of
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from bascule.configuration.route import RejectMode
    from bascule.gateway.connections.legs import Leg

LIMITS = Limits(refusal_hold_max=30.0, max_held_refusals=1)
OFFER = Offer(b"dGhlIHNhbXBsZSBub25jZQ==", (), frozenset(), b"front", None)


class InPieces:
    """A leg that needs a task, as one over TLS; it reads as if all came in short segments."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._plain = PlainLeg(asyncio.get_running_loop(), connection)
        self.heard = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)

    async def read(self) -> bytes:
        data = await asyncio.get_running_loop().sock_recv(self._connection, 1000)
        self.heard += len(data)
        return data


def plain(connection: socket.socket) -> PlainLeg:
    return PlainLeg(asyncio.get_running_loop(), connection)


either = pytest.mark.parametrize("leg_of", [plain, InPieces])
LegOf = Callable[[socket.socket], Any]


def refused_often(life: Life | None = None) -> Refuser:
    """Return what has refused somebody so often that it holds them for half a minute now."""
    refuser = Refuser(LIMITS, life or Life())
    for _ in range(10):
        refuser.hold_off.refuse("who", b"/", time.monotonic())
    return refuser


def refuse(
    refuser: Refuser,
    leg: Leg | InPieces,
    early: bytes = b"",
    mode: RejectMode = "close",
    decided: Callable[[Refusing], None] = lambda _: None,
) -> asyncio.Task[Refusing]:
    """Refuse somebody, who said something early; the task tells what came of it, cancelled or not."""

    async def refusal() -> Refusing:
        refusing = Refusing(refuser, cast("Leg", leg), early, OFFER, mode, CloseCode.TRY_AGAIN_LATER, "full")
        with contextlib.suppress(asyncio.CancelledError):
            if (
                rest := refusing.begin(refuser.seconds_for("who", b"/"), lambda: decided(refusing))
            ) is not None:
                await rest
            await eventually_async(lambda: not refuser.under_way, 10, "the browser is heard out")
        return refusing

    return asyncio.create_task(refusal())


async def held(refuser: Refuser) -> tuple[socket.socket, asyncio.Task[Refusing]]:
    """Refuse somebody who may be held; the 101 has come."""
    browser, ours = connected()
    refusal = refuse(refuser, PlainLeg(asyncio.get_running_loop(), ours))
    assert await asyncio.get_running_loop().sock_recv(browser, 4096)
    return browser, refusal


async def everything(browser: socket.socket) -> bytes:
    """Return what comes up to the end of the connection, which is no reset."""
    said = b""
    while data := await asyncio.wait_for(asyncio.get_running_loop().sock_recv(browser, 4096), 5):
        said += data
    browser.close()
    return said


async def told(browser: socket.socket) -> list[tuple[int | None, bytes]]:
    """Return the Close frames that come."""
    said = (await everything(browser)).rpartition(b"\r\n\r\n")[2]
    return [(found.code, found.reason) for found in frames_of(said)]


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("said", [0, 90])
async def test_a_browser_that_leaves_was_held_until_then(reset: bool, said: int) -> None:
    refuser = refused_often()
    browser, refusal = await held(refuser)
    for _ in range(said):
        browser.send(frame(TEXT, b"hello?", key=KEY))
        await asyncio.sleep(0)  # each is read for itself
    if reset:
        browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    browser.close()
    outcome = await asyncio.wait_for(refusal, 5)
    assert outcome.held < 5
    assert not outcome.said
    assert (refuser.held, refuser.under_way) == (0, 0)


async def test_a_held_browser_that_says_close_is_answered_at_once() -> None:
    refuser = refused_often()
    browser, refusal = await held(refuser)
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(browser, frame(TEXT, b"hello?", key=KEY))
    await asyncio.sleep(0)
    await loop.sock_sendall(browser, close(1000, key=KEY))
    (said,) = frames_of(await asyncio.wait_for(loop.sock_recv(browser, 4096), 5))
    assert (said.code, said.reason) == (1013, b"full")
    browser.close()
    outcome = await asyncio.wait_for(refusal, 5)
    assert outcome.held < 5
    assert outcome.said
    assert (refuser.held, refuser.under_way) == (0, 0)


async def test_who_waits_until_nobody_is_held_goes_on_when_the_last_one_was_told() -> None:
    refuser = Refuser(LIMITS.model_copy(update={"max_held_refusals": 2}), Life())
    for _ in range(10):
        refuser.hold_off.refuse("who", b"/", time.monotonic())
    browsers = [await held(refuser) for _ in range(2)]
    waiting = asyncio.create_task(refuser.wait_none_held())
    first, refusal = browsers[0]
    first.close()
    await asyncio.wait_for(refusal, 5)
    await asyncio.sleep(0)
    assert not waiting.done()
    refuser.release()
    await asyncio.wait_for(waiting, 5)
    last, refusal = browsers[1]
    (said,) = frames_of(last.recv(4096))
    assert (said.code, said.reason) == (1013, b"full")
    last.close()
    await asyncio.wait_for(refusal, 5)
    await refuser.wait_none_held()  # nobody is held


async def test_of_several_refused_in_one_turn_of_the_loop_no_more_are_held_than_may_be() -> None:
    refuser = refused_often()
    pairs = [connected() for _ in range(3)]
    refusings = [
        Refusing(refuser, plain(ours), b"", OFFER, "close", CloseCode.TRY_AGAIN_LATER, "full")
        for _, ours in pairs
    ]
    begun = [each.begin(refuser.seconds_for("who", b"/"), lambda: None) for each in refusings]
    tasks = [asyncio.create_task(rest) for rest in begun if rest is not None]
    assert await asyncio.gather(*(told(browser) for browser, _ in pairs[1:])) == [[(1013, b"full")]] * 2
    assert refuser.held == 1
    refuser.release()
    assert await told(pairs[0][0]) == [(1013, b"full")]
    await asyncio.gather(*tasks)
    assert [each.held > 0 for each in refusings] == [True, False, False]


MESSAGE = frame(BINARY, b"\x88\x00" * 4000, key=bytes(4))
"""What a page says in several segments, each of which looks as if it began with a Close."""


@pytest.mark.parametrize("early", [0, 1, 3, 2000])
async def test_what_a_held_browser_says_in_segments_is_not_taken_for_a_close(early: int) -> None:
    refuser = refused_often()
    browser, ours = connected()
    leg = InPieces(ours)
    refusal = refuse(refuser, leg, MESSAGE[:early])
    browser.send(MESSAGE[early:])
    await eventually_async(lambda: leg.heard == len(MESSAGE) - early, 5, "it is read")
    assert refuser.held == 1
    browser.send(close(1000, key=KEY))
    assert await told(browser) == [(1013, b"full")]
    assert (await refusal).held < 5


@either
async def test_a_refused_browser_that_says_much_is_heard_out(leg_of: LegOf) -> None:
    browser, ours = connected()
    refusal = refuse(Refuser(LIMITS, Life()), leg_of(ours))
    browser.send(MESSAGE + close(1013, key=KEY))
    assert await told(browser) == [(1013, b"full")]
    await refusal


@pytest.mark.parametrize("is_repeated", [False, True])
@either
async def test_a_browser_that_says_close_with_its_request_is_told_at_once(
    leg_of: LegOf, is_repeated: bool
) -> None:
    browser, ours = connected()
    refuser = refused_often() if is_repeated else Refuser(LIMITS, Life())
    refusal = refuse(refuser, leg_of(ours), frame(TEXT, b"hello?", key=KEY) + close(1000, key=KEY))
    assert await told(browser) == [(1013, b"full")]
    assert (await refusal).held == 0


@pytest.mark.parametrize("mode", ["close", "http503"])
async def test_who_is_held_is_told_at_once_when_we_leave_and_nobody_is_held_from_then_on(
    mode: RejectMode,
) -> None:
    refuser = refused_often(life := at(Stage.SERVING))
    refusals = []
    for _ in range(2):
        browser, ours = connected()
        refusals.append((browser, refuse(refuser, PlainLeg(asyncio.get_running_loop(), ours), mode=mode)))
        if not refusals[1:]:
            await eventually_async(lambda: refuser.held, 5, "it is held")
            life.go_on(Stage.STOPPING)
            refuser.release()
            await eventually_async(lambda: not refuser.held, 5, "it is told")
    for browser, refusal in refusals:
        browser.shutdown(socket.SHUT_WR)  # it is heard out no longer
        said = await everything(browser)
        assert said.endswith(close(1013, b"full") if mode == "close" else b"full\n")
        assert (await refusal).said
    assert [(await refusal).held > 0 for _, refusal in refusals] == [True, False]
    assert (refuser.held, refuser.under_way) == (0, 0)


async def test_who_is_held_when_a_drain_begins_is_told_and_held_when_he_comes_again() -> None:
    refuser = refused_often()
    browser, refusal = await held(refuser)
    refuser.release()
    refuser.release()
    assert await told(browser) == [(1013, b"full")]
    assert (await refusal).said
    again, refusal = await held(refuser)
    assert refuser.held == 1
    again.close()
    await refusal


@pytest.mark.parametrize("mode", ["close", "http503"])
@either
async def test_what_came_of_a_refusal_is_told_before_the_browser_is_heard_out(
    leg_of: LegOf, mode: RejectMode
) -> None:
    outcomes: list[tuple[float, bool]] = []
    refuser = Refuser(LIMITS, Life())
    browser, ours = connected()
    refusal = refuse(refuser, leg_of(ours), mode=mode, decided=lambda it: outcomes.append((it.held, it.said)))
    assert await asyncio.get_running_loop().sock_recv(browser, 4096)
    assert (outcomes, refuser.under_way) == ([(0, True)], 1)
    browser.close()
    await asyncio.wait_for(refusal, 5)
    assert len(outcomes) == 1


@pytest.mark.parametrize("leaves", [False, True])
async def test_what_came_of_a_refusal_is_told_once_though_the_browser_leaves_or_we_do(leaves: bool) -> None:
    outcomes: list[bool] = []
    browser, ours = connected()
    leg = PlainLeg(asyncio.get_running_loop(), ours)
    refusal = refuse(refused_often(), leg, decided=lambda it: outcomes.append(it.said))
    assert await asyncio.get_running_loop().sock_recv(browser, 4096)
    assert outcomes == []
    browser.close() if leaves else refusal.cancel()
    await asyncio.wait_for(refusal, 5)
    browser.close()
    assert outcomes == [False]


@pytest.mark.parametrize("mode", ["close", "http503"])
@pytest.mark.parametrize("is_repeated", [False, True])
async def test_a_browser_that_makes_no_room_for_a_refusal_is_not_waited_for(
    mode: RejectMode, is_repeated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has left the answers to former requests on its connection unread."""
    monkeypatch.setattr(farewell, "FAREWELL_SECONDS", 0.1)
    limits = Limits(refusal_hold_max=0.1)
    refuser = Refuser(limits, Life())
    if is_repeated:
        refuser.hold_off.refuse("who", b"/", time.monotonic())
    outcomes: list[bool] = []
    ours, browser = unix_pair()
    with browser:
        fill(ours)
        leg = PlainLeg(asyncio.get_running_loop(), ours)
        refusal = refuse(refuser, leg, mode=mode, decided=lambda it: outcomes.append(it.said))
        await asyncio.wait_for(refusal, 5)
    assert (outcomes, refuser.under_way, ours.fileno()) == ([False], 0, -1)


async def test_of_a_refusal_that_is_cut_is_known_how_far_it_was() -> None:
    refuser, other = refused_often(), Refuser(LIMITS, Life())
    browsers, refusals = zip(*[await held(refuser), await held(other)], strict=True)
    for refusal in refusals:
        refusal.cancel()
    waited, was_heard_out = [await refusal for refusal in refusals]
    assert waited.held > 0
    assert (waited.said, was_heard_out.said) == (False, True)
    assert (refuser.held, refuser.under_way) == (0, 0)
    for browser in browsers:
        browser.close()
    await eventually_async(lambda: not other.under_way, 5, "the other one was heard out")


def connected() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        browser = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    browser.setblocking(False)
    ours.setblocking(False)
    return browser, ours
