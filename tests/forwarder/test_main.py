"""What a forwarder does as its supervisor says, or goes: the test is the supervisor."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from bascule.configuration.config import Config, WebSocketProxy
from bascule.handover.control import Misread
from bascule.handover.counters import CounterFile
from bascule.handover.messages import Listed
from bascule.supervisor.forwarderchild import ForwarderChild
from tests.forwarder.process import PATIENCE, Forwarder, Session, hand_over, setup_of

if TYPE_CHECKING:
    import pytest


def test_a_supervisor_that_says_what_makes_no_sense_is_told_so_and_heard_on(forwarder: Forwarder) -> None:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(forwarder.connect())
        assert forwarder.hear(first) == Listed(0)
        hand_over(first, [Session(stack, 1)])
        forwarder.control.send(b"no JSON")
        assert isinstance(forwarder.said(), Misread)
        second = stack.enter_context(forwarder.connect())
        assert forwarder.listed(second) == [1]


def test_a_session_that_was_on_its_way_when_all_were_to_end_is_told_too(forwarder: Forwarder) -> None:
    with contextlib.ExitStack() as stack:
        gateway = stack.enter_context(forwarder.connect())
        assert forwarder.hear(gateway) == Listed(0)
        for identifier in (1, 2):  # while the first is being ended there is a forwarder to take the second
            hand_over(gateway, [session := Session(stack, identifier)])
            session.browser.settimeout(PATIENCE)
            if identifier == 1:
                forwarder.child.hang_up()
            assert session.browser.recv(100)[2:4] == (1012).to_bytes(2, "big")


def test_a_forwarder_whose_supervisor_goes_while_it_starts_leaves_without_a_word(
    capfd: pytest.CaptureFixture[str],
) -> None:
    child, counters = ForwarderChild(0), CounterFile.create(1)
    with child.new_control() as theirs:
        child.start(setup_of(Config(), theirs, counters), time.monotonic())
    child.hang_up()
    status, _ = child.reap(time.monotonic())
    assert (status, capfd.readouterr().err) == (0, "")


def test_an_interval_of_any_length_is_one() -> None:
    """The pool's keys in milliseconds have no upper bound, a float has."""
    never = WebSocketProxy(session_idle_timeout_ms=10**400, heartbeat_interval_ms=10**400)
    running = Forwarder(Config(websocket_proxy=never))  # says that it is ready
    running.close()
