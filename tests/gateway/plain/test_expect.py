"""Bodies that wait for an invitation: Expect: 100-continue."""

from __future__ import annotations

import asyncio

import pytest

from bascule.gateway.plain import upload as plain_upload
from tests.gateway.plain_support import PATIENCE, Front, Peer, World, answer, request_head, until

EXPECT = b"Expect: 100-continue"


async def offering(front: Front, early: bytes = b"") -> Peer:
    """Be a browser that has five bytes to put, and sends ``early`` ones of them uninvited."""
    peer = await front.connect()
    await peer.send(request_head(b"/", EXPECT, b"Content-Length: 5", method=b"PUT") + early)
    return peer


async def invited(peer: Peer) -> None:
    """Wait for the invitation, and send the body."""
    assert (await peer.head()).start_line == b"HTTP/1.1 100 Continue"
    await peer.send(b"hello")


async def test_the_upstream_invites_the_body(world: World) -> None:
    invites = asyncio.Event()

    async def script(peer: Peer) -> None:
        head = await peer.head()
        assert head.value(b"Expect") == b"100-continue"
        await invites.wait()
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await peer.exactly(5)
        await peer.send(answer(body=body.upper()))

    front = await world.front(await world.upstream(script))
    peer = await offering(front)
    await until(lambda: world.upstreams[0].connections == 1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(peer.reader.read(1), 0.1)
    invites.set()
    await invited(peer)
    got = await peer.message()
    assert (got.status, got.body, got.value(b"Connection")) == (200, b"HELLO", None)


@pytest.fixture
def endless_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a browser that keeps its body back do so for ever."""
    monkeypatch.setattr(plain_upload, "_INVITATION", 10 * PATIENCE)


@pytest.mark.usefixtures("endless_wait")
@pytest.mark.parametrize("early", [b"hello", b"he"], ids=["all", "a part"])
async def test_a_body_that_is_there_is_not_held_back(world: World, early: bytes) -> None:
    upstream = await world.repeating(answer(body=b"ok"))  # which knows no expectations
    front = await world.front(upstream)
    peer = await offering(front, early)
    await peer.send(b"hello"[len(early) :])
    assert (await peer.message()).body == b"ok"
    assert upstream.requests[0].body == b"hello"


@pytest.mark.usefixtures("endless_wait")
async def test_a_body_that_comes_without_an_invitation_is_not_held_back(world: World) -> None:
    arrived = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        arrived.set()
        await peer.send(answer(body=await peer.exactly(5)))

    front = await world.front(await world.upstream(script))
    peer = await offering(front)
    await asyncio.wait_for(arrived.wait(), PATIENCE)
    await peer.send(b"hello")
    assert (await peer.message()).body == b"hello"


@pytest.mark.usefixtures("endless_wait")
async def test_a_browser_that_was_invited_and_sends_nothing_is_408(world: World) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 2)
        assert await peer.ended()

    front = await world.front(await world.upstream(script), limits={"httpUpstreamTimeout": 0.3})
    peer = await offering(front)
    assert (await peer.head()).status == 100
    assert (await peer.message()).status == 408


async def test_an_upstream_that_speaks_http11_again_is_asked_again(world: World) -> None:
    async def script(peer: Peer) -> None:
        upstream.requests.append(await peer.head())
        if upstream.requests[-1].value(b"Expect"):
            await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            await peer.exactly(5)
        version = b"HTTP/1.0" if upstream.connections == 1 else b"HTTP/1.1"
        await peer.send(version + b" 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")

    upstream = await world.upstream(script)
    front = await world.front(upstream)
    for _ in range(2):
        await front.request(b"/")
    peer = await offering(front)
    await invited(peer)
    assert (await peer.message()).body == b"ok"
    assert [request.value(b"Expect") for request in upstream.requests] == [None, None, b"100-continue"]


async def test_the_upstream_refuses_the_body(world: World) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(answer(status=b"417 Expectation Failed", body=b"no"))
        assert await peer.ended()

    upstream = await world.upstream(script)
    front = await world.front(upstream)
    peer = await offering(front)
    got = await peer.message()
    assert (got.status, got.body) == (417, b"no")
    assert got.value(b"Connection") == b"close"
    async with asyncio.timeout(PATIENCE):
        await upstream.gone.wait()


async def test_an_upstream_that_knows_no_expectations_gets_the_body_after_a_second(world: World) -> None:
    upstream = await world.repeating(answer(body=b"ok"))
    front = await world.front(upstream)
    peer = await offering(front)
    await invited(peer)
    assert (await peer.message()).body == b"ok"
    assert upstream.requests[0].body == b"hello"


async def test_nothing_is_invited_once_the_answer_has_begun(world: World) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(answer(b"Content-Length: 4", status=b"413 Content Too Large", body=None) + b"to")
        await asyncio.sleep(1.3)  # longer than a body waits for its invitation
        await peer.send(b"o!")

    front = await world.front(await world.upstream(script))
    peer = await offering(front)
    got = await peer.message()
    assert (got.status, got.body, got.value(b"Connection")) == (413, b"too!", b"close")


async def test_an_upstream_known_to_speak_http10_is_not_asked_for_an_invitation(world: World) -> None:
    async def script(peer: Peer) -> None:
        upstream.requests.append(await peer.message())
        await peer.send(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")

    upstream = await world.upstream(script)
    front = await world.front(upstream)
    await front.request(b"/")
    peer = await offering(front)
    await invited(peer)
    assert (await peer.message()).body == b"ok"
    assert upstream.requests[1].value(b"Expect") is None
    assert upstream.requests[1].body == b"hello"


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
async def test_an_expectation_without_a_body_is_dropped(world: World, version: bytes) -> None:
    upstream = await world.repeating(answer(body=b"x"))
    front = await world.front(upstream)
    peer = await front.connect()
    await peer.send(request_head(b"/", EXPECT, version=version))
    assert (await peer.message()).body == b"x"
    assert upstream.requests[0].value(b"Expect") is None


async def test_an_http10_browser_is_never_sent_an_invitation(world: World) -> None:
    upstream = await world.repeating(answer(body=b"x"))
    front = await world.front(upstream)
    peer = await front.connect()
    await peer.send(
        request_head(b"/", EXPECT, b"Content-Length: 2", method=b"PUT", version=b"HTTP/1.0") + b"ab"
    )
    assert (await peer.message()).status == 200
    assert upstream.requests[0].value(b"Expect") is None
    assert upstream.requests[0].body == b"ab"
