"""A list of all sessions is as complete as the forwarders' answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bascule.gateway.sessions import listing as module
from bascule.handover.descriptors import send_packet
from bascule.handover.messages import List, Listed, decode
from tests.gateway.sessions.channels import Heard, live

if TYPE_CHECKING:
    import pytest


async def test_a_list_is_whole_when_each_forwarder_has_sent_its_part_or_is_gone() -> None:
    heard = Heard()
    channels = [heard.forwarder(slot) for slot in range(3)]
    channels[2].close()
    listing = asyncio.create_task(heard.links.list_sessions())
    await asyncio.sleep(0)
    for channel, identifier in zip(channels[:2], (7, 8), strict=True):
        (request,) = decode(channel.recv(64))
        assert isinstance(request, List)
        send_packet(channel, live(request.request, identifier) + Listed(request.request).encode())
    assert {found.id for found in await listing} == {7, 8}
    heard.forget()
    for channel in channels[:2]:
        channel.close()


async def test_a_forwarder_that_does_not_list_in_time_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TIMEOUT", 0.05)
    heard = Heard()
    silent = heard.forwarder(0)
    assert await heard.links.list_sessions() == []
    send_packet(silent, live(1, 7) + Listed(1).encode())  # too late: nobody waits for it
    await asyncio.sleep(0.01)
    assert await heard.links.list_sessions() == []
    heard.forget()
    silent.close()
