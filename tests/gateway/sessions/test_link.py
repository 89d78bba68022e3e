"""What a forwarder says on its channel is heard once, to the end, whatever happens to either side."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import uvloop

from bascule.handover.descriptors import PacketReader, queued, send_packet
from tests.gateway.sessions.channels import Heard, changed, ended, failed

if TYPE_CHECKING:
    from collections.abc import Callable


async def test_outcomes_of_a_forwarder_that_died_before_it_read_are_heard() -> None:
    heard = Heard()
    former = heard.forwarder(0)
    assert heard.links.close_session(0, 1, 0)
    for identifier in range(3):
        send_packet(former, ended(identifier))
    former.close()
    await heard.links.changed.wait()
    assert heard.log == [*(("ended", identifier) for identifier in range(3)), ("lost", 0)]


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_forwarder_that_died_before_it_read_is_heard_out_before_there_is_a_successor(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def dies() -> list[tuple[str, int]]:
        heard = Heard()
        forwarder = heard.forwarder(0)
        await asyncio.sleep(0)
        assert heard.links.close_session(0, 1, 0)
        for identifier in range(3):
            send_packet(forwarder, ended(identifier))
        forwarder.close()
        await changed(heard)
        return heard.log

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(dies()) == [*(("ended", identifier) for identifier in range(3)), ("lost", 0)]


async def test_an_outcome_is_taken_from_the_channel_only_when_it_has_been_acted_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A gateway that is killed meanwhile leaves it unread, for the next one."""
    heard = Heard()
    forwarder = heard.forwarder(0)
    unread = []
    monkeypatch.setattr(heard, "on_ended", lambda *_: unread.append(queued(forwarder.fileno()) > 0))
    send_packet(forwarder, ended(1) + ended(2))
    heard.links.by_slot[0].receive()
    assert unread == [True, True]
    assert queued(forwarder.fileno()) == 0
    heard.forget()
    forwarder.close()


async def test_a_packet_that_makes_no_sense_is_not_left_unread() -> None:
    """Otherwise whoever reads the rest would fail at it as well."""
    heard = Heard()
    with await failed(heard, ended(3) + b"\xff") as forwarder:
        assert not PacketReader().receive(forwarder).after_reset
    assert heard.log[2:] == []
