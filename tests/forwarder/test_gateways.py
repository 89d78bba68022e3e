"""A forwarder between gateways that come and go: the test is supervisor and gateway."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import threading
import time

import pytest

from bascule.handover.control import ASK_AGAIN, ChannelLost, read_control
from bascule.handover.counters import CLOSE_CODES_BASE, ENDED_BASE, ForwarderWord
from bascule.handover.descriptors import PacketReader, send_packet
from bascule.handover.messages import (
    MAX_JOINED_MESSAGES,
    MAX_PACKET_BYTES,
    Adopt,
    Close,
    Ended,
    List,
    Listed,
    Live,
    Message,
    Moved,
    decode,
)
from tests.forwarder.process import PATIENCE, Forwarder, Session, hand_over
from tests.support.parts import ROOT
from tests.support.waiting import eventually


def _hand_over_each(gateway: socket.socket, sessions: list[Session], accepted: list[int]) -> None:
    """Hand over sessions one by one until the channel takes no more; note those that it took."""
    for session in sessions:
        try:
            hand_over(gateway, [session])
        except BrokenPipeError:
            return
        accepted.append(session.identifier)


def test_a_new_gateway_hears_of_every_session_before_the_list_ends(forwarder: Forwarder) -> None:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(forwarder.connect())
        assert forwarder.hear(first) == Listed(0)
        for identifier in range(1, 41):
            hand_over(first, [Session(stack, identifier, tag=b"t" * 2000)])
        first.close()
        # This one dies in the middle of its list.
        second = forwarder.connect(room=40_000)
        assert isinstance(forwarder.hear(second), Live)
        second.close()
        forwarder.forget()
        third = stack.enter_context(forwarder.connect())
        assert forwarder.listed(third) == list(range(1, 41))


def test_the_gateway_before_hears_that_there_is_another(forwarder: Forwarder) -> None:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(forwarder.connect())
        assert forwarder.hear(first) == Listed(0)
        second = stack.enter_context(forwarder.connect())
        assert forwarder.hear(second) == Listed(0)
        assert isinstance(forwarder.hear(first), Moved)
        assert first.recv(1) == b""


def test_a_gateway_that_is_busy_hears_in_the_end_that_there_is_another(forwarder: Forwarder) -> None:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(forwarder.connect(room=4608))
        assert forwarder.hear(first) == Listed(0)
        hand_over(first, [Session(stack, 0, tag=b"t" * 2000)])
        for number in range(1, 11):  # it asks for lists, and reads none of them
            send_packet(first, List(number).encode())
            hand_over(first, [session := Session(stack, number, answer=b"hello")])
            session.browser.settimeout(PATIENCE)
            assert session.browser.recv(100) == b"hello"
        second = stack.enter_context(forwarder.connect())
        assert forwarder.listed(second) == list(range(11))
        with pytest.raises(BrokenPipeError):
            send_packet(first, List(0).encode())
        heard: list[Message] = []
        while Moved() not in heard:
            heard += forwarder.packet(first)
        forwarder.wait(first)
        assert first.recv(1) == b""


def test_what_a_gateway_hands_over_while_another_comes_is_adopted_or_refused_but_never_lost(
    forwarder: Forwarder,
) -> None:
    """It sends as fast as it can, so that some packets come in the middle of the change."""
    with contextlib.ExitStack() as stack:
        gateway = stack.enter_context(forwarder.connect())
        assert forwarder.hear(gateway) == Listed(0)
        accepted: list[int] = []
        for change in range(30):
            sessions = [Session(stack, 100 * change + number) for number in range(4)]
            hand_over(gateway, sessions[:1])
            sender = threading.Thread(target=_hand_over_each, args=(gateway, sessions[1:], accepted))
            accepted.append(100 * change)
            successor = stack.enter_context(forwarder.connect())
            sender.start()
            sender.join()
            assert forwarder.listed(successor) == sorted(accepted)
            gateway = successor


def test_sessions_of_one_packet_are_adopted_in_order(forwarder: Forwarder) -> None:
    with contextlib.ExitStack() as stack:
        gateway = stack.enter_context(forwarder.connect())
        assert forwarder.hear(gateway) == Listed(0)
        numbers = range(MAX_JOINED_MESSAGES)
        sessions = [Session(stack, number, answer=b"for %d" % number) for number in numbers]
        hand_over(gateway, sessions)
        for number, session in enumerate(sessions):
            session.browser.settimeout(PATIENCE)
            assert session.browser.recv(100) == b"for %d" % number


def test_what_a_gateway_handed_over_is_adopted_though_it_died_before_it_read(forwarder: Forwarder) -> None:
    with contextlib.ExitStack() as stack:
        first = forwarder.connect()
        assert forwarder.hear(first) == Listed(0)
        kept = stack.enter_context(first.dup())  # by the supervisor
        # The first comes without descriptors and is given back.
        hand_over(first, [Session(stack, 1)], without=1)
        forwarder.wait(first)
        forwarder.child.signal(signal.SIGSTOP)
        for identifier in (2, 3):
            hand_over(first, [Session(stack, identifier)])
        first.close()
        forwarder.child.signal(signal.SIGCONT)
        second = stack.enter_context(forwarder.connect())
        assert forwarder.listed(second) == [2, 3]
        assert isinstance(ended := forwarder.hear(kept), Ended)
        assert ended.id == 1


def test_outcomes_that_a_gateway_has_not_read_yet_stay_on_its_channel(forwarder: Forwarder) -> None:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(forwarder.connect())
        assert forwarder.hear(first) == Listed(0)
        hand_over(first, [Session(stack, 1)], without=1)
        forwarder.wait(first)
        second = stack.enter_context(forwarder.connect())
        assert forwarder.hear(second) == Listed(0)
        assert isinstance(forwarder.hear(first), Ended)
        assert isinstance(forwarder.hear(first), Moved)


def test_a_channel_that_does_not_fit_is_asked_for_again_and_nobodys_session_ends(
    forwarder: Forwarder,
) -> None:
    assert forwarder.child.process is not None
    pid = forwarder.child.process.pid
    limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(forwarder.connect())
        assert forwarder.hear(first) == Listed(0)
        hand_over(first, [session := Session(stack, 1, answer=b"hello")])
        session.browser.settimeout(PATIENCE)
        assert session.browser.recv(100) == b"hello"
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limit[1]))
        for _ in range(2):
            with forwarder.connect() as lost:
                assert forwarder.said() == ChannelLost(0, forwarder.missed)
                assert lost.recv(1) == b""
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
        second = stack.enter_context(forwarder.connect())
        assert forwarder.listed(second) == [1]


def test_a_channel_is_asked_for_again_when_a_supervisor_that_stood_still_reads_on(
    forwarder: Forwarder,
) -> None:
    assert forwarder.child.process is not None
    pid = forwarder.child.process.pid
    limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with contextlib.suppress(BlockingIOError):
        while True:  # whatever it has not read
            forwarder.their_control.send(b"x" * 4096)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limit[1]))
    with forwarder.connect() as lost:
        forwarder.wait(lost)  # it has found no room for it
    time.sleep(1.5 * ASK_AGAIN)
    said = b"x"
    while said.startswith(b"x"):
        forwarder.wait(forwarder.control)
        said = forwarder.control.recv(4096)
    assert read_control(said) == ChannelLost(0, forwarder.missed)


def test_a_channel_that_epoll_does_not_take_is_asked_for_again_and_nobodys_session_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A child does not look for modules in the working directory.
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    with contextlib.ExitStack() as stack:
        forwarder = Forwarder(module="tests.support.fewwatches")
        stack.callback(forwarder.close)
        sessions: list[int] = []
        for identifier in (1, 2):
            with forwarder.connect() as lost:
                assert forwarder.said() == ChannelLost(0, forwarder.missed)
                assert lost.recv(1) == b""
            gateway = stack.enter_context(forwarder.connect())
            assert forwarder.listed(gateway) == sessions
            hand_over(gateway, [session := Session(stack, identifier, answer=b"hello")])
            session.browser.settimeout(PATIENCE)
            assert session.browser.recv(100) == b"hello"
            sessions.append(identifier)


NONSENSE = {
    "unknown": b"\xff",
    "truncated": Adopt(9, 0, 0, 0, 0.0, 1, b"t", b"", b"", b"").encode()[:-1],
    "not for a forwarder": Listed(0).encode(),
    "no row of the close table": Close(1, 255, 0, -1.0, b"").encode(),
    "too long": bytes(MAX_PACKET_BYTES + 1),
}


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE)
def test_a_gateway_that_says_what_makes_no_sense_ends_no_session_and_another_channel_is_asked_for(
    forwarder: Forwarder, nonsense: bytes
) -> None:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(forwarder.connect())
        assert forwarder.hear(first) == Listed(0)
        number = forwarder.missed
        hand_over(first, [Session(stack, 1)])
        send_packet(first, nonsense)
        hand_over(first, [Session(stack, 2)])
        said = forwarder.said()
        assert isinstance(said, ChannelLost)
        assert (said.slot, said.number) == (0, number)
        assert said.problem
        second = stack.enter_context(forwarder.connect())
        assert forwarder.listed(second) == [1, 2]
        assert isinstance(forwarder.hear(first), Moved)


def test_descriptors_that_came_with_what_makes_no_sense_are_closed(forwarder: Forwarder) -> None:
    with contextlib.ExitStack() as stack:
        gateway = stack.enter_context(forwarder.connect())
        assert forwarder.hear(gateway) == Listed(0)
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                send_packet(gateway, b"\xff", [theirs.fileno()])
                socket.send_fds(forwarder.control, [b"no JSON"], [theirs.fileno()])
            ours.settimeout(PATIENCE)
            assert ours.recv(1) == b""


def test_what_ends_in_one_turn_is_told_in_one_packet(forwarder: Forwarder) -> None:
    with contextlib.ExitStack() as stack:
        gateway = stack.enter_context(forwarder.connect())
        assert forwarder.hear(gateway) == Listed(0)
        # As when the forwarder may open no more.
        hand_over(gateway, [Session(stack, number) for number in range(20)], without=3)
        told = forwarder.packet(gateway)
        assert [(type(message), message.id) for message in told if isinstance(message, Ended)] == [
            (Ended, 17),
            (Ended, 18),
            (Ended, 19),
        ]


def test_what_a_gateway_was_not_told_when_a_forwarder_died_is_not_counted_and_counts_as_open(
    forwarder: Forwarder,
) -> None:
    """The gateway stands still, and then counts as lost what it was not told of; so nobody else may have."""
    sessions = 60
    words = forwarder.counters.forwarder(0)
    with contextlib.ExitStack() as stack:
        gateway = stack.enter_context(forwarder.connect(room=4608))
        assert forwarder.hear(gateway) == Listed(0)
        handed = [Session(stack, number) for number in range(sessions)]
        for session in handed:
            hand_over(gateway, [session])
        is_full = False
        for session in handed[:-5]:  # one at a time, or a single packet tells of all of them
            was_open, turns = words[ForwarderWord.OPEN], words[ForwarderWord.TURNS]
            session.browser.close()
            session.upstream.close()

            def told_or_full(was_open: int = was_open, turns: int = turns) -> bool:
                return words[ForwarderWord.OPEN] < was_open or words[ForwarderWord.TURNS] > turns + 10

            if not is_full:
                eventually(told_or_full, PATIENCE, "it is told, or tried again and again")
                is_full = words[ForwarderWord.OPEN] == was_open
        assert is_full
        forwarder.child.signal(signal.SIGKILL)
        reader, told = PacketReader(), 0
        gateway.settimeout(PATIENCE)
        while packet := reader.receive(gateway).data:
            told += sum(isinstance(message, Ended) for message in decode(packet))
        assert 0 < told < sessions - 5
        assert sum(words[ENDED_BASE:CLOSE_CODES_BASE]) == told
        assert words[ForwarderWord.OPEN] == sessions - told
