"""What is lost with a forwarder is counted once, whatever it could tell to whom."""

from __future__ import annotations

import contextlib
import signal
import time
from typing import TYPE_CHECKING

from bascule.gateway.life import Life, Stage
from bascule.gateway.sessions.dispatch import Dispatch
from bascule.gateway.sessions.links import Links
from bascule.handover.control import ForwarderChannel
from bascule.handover.counters import CounterFile, ForwarderWord
from bascule.handover.descriptors import send_packet
from bascule.handover.messages import List
from tests.forwarder.process import PATIENCE, Forwarder, Session, hand_over
from tests.gateway.lives import at
from tests.support.bookkeeping import TAG, Bookkeeping
from tests.support.waiting import eventually, eventually_async

if TYPE_CHECKING:
    import socket


class Gateway:
    """What a gateway knows of its sessions, and counts."""

    def __init__(self, counters: CounterFile, place: int, life: Life) -> None:
        self.kept = Bookkeeping(counters, place, most=20)
        self.life = life
        counts = self.kept.registry.by_slot
        self.links = Links(
            counts=counts, books=self.kept.outcomes, ask=lambda *_: None,
            words=counters.forwarder, life=life, slots=counters.forwarders,
        )  # fmt: skip
        self.dispatch = Dispatch(self.links, counts)

    def add(self, forwarder: Forwarder, room: int = 0) -> socket.socket:
        """Get a channel to the forwarder."""
        channel = forwarder.connect(room=room)
        self.links.add(ForwarderChannel(0, 1, "pure", 0, forwarder.missed), channel)
        return channel


async def test_what_is_lost_with_a_forwarder_that_could_not_tell_a_former_gateway_is_counted_once(
    forwarder: Forwarder,
) -> None:
    """The former one has read nothing for a moment, as it retired, so its channel is full."""
    words = forwarder.counters.forwarder(0)
    former = Gateway(forwarder.counters, 0, at(Stage.SETTLING))
    serving = Gateway(forwarder.counters, 1, at(Stage.SERVING))
    with contextlib.ExitStack() as stack:
        channel = former.add(forwarder, room=4608)
        await eventually_async(former.dispatch.has_room, PATIENCE, "it is there")
        sessions = []
        for number in range(11):  # it asks for lists, and reads none of them
            if number:
                send_packet(channel, List(number).encode())
            session = Session(stack, number, tag=TAG + (b"" if number else b"t" * 2000), answer=b"hello")
            hand_over(channel, [session])
            former.kept.live(number, time.monotonic())
            session.browser.settimeout(PATIENCE)
            assert session.browser.recv(100) == b"hello"
            sessions.append(session)
        former.life.go_on(Stage.RETIRED)
        forwarder.wait(serving.add(forwarder))
        for session in sessions[:2]:  # the serving gateway hears of their ends, the former one does not
            session.browser.close()
            session.upstream.close()
        eventually(lambda: words[ForwarderWord.OPEN] == 9, PATIENCE, "two have ended")
        forwarder.child.signal(signal.SIGKILL)
        forwarder.wait_dead()
        former.links.by_slot[0].receive_all()  # it comes first
        await eventually_async(lambda: not serving.links.by_slot, PATIENCE, "the other one knows as well")
    assert not former.links.by_slot
    assert forwarder.counters.lost_count() == 9
    assert (len(former.kept.lines), len(serving.kept.lines)) == (0, 11)
