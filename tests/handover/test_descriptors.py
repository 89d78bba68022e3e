"""Packets and descriptors over a real Unix channel."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import socket
from typing import TYPE_CHECKING

import pytest

from bascule.errors import HandoverError
from bascule.handover.descriptors import (
    MAX_DESCRIPTORS,
    SPARE_DESCRIPTORS,
    Packet,
    PacketReader,
    arrived,
    channel_pair,
    has_room,
    is_read_out,
    queued,
    send_packet,
    sessions_that_fit,
)
from bascule.handover.messages import MAX_PACKET_BYTES
from tests.support.descriptors import open_descriptors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

END = Packet(b"", ())


@pytest.fixture
def channel() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = channel_pair()
    with left, right:
        yield left, right


Channel = tuple[socket.socket, socket.socket]


def test_packets_arrive_whole_and_in_order(channel: Channel) -> None:
    left, right = channel
    reader = PacketReader()
    for packet in (b"one", b"two", b"x" * MAX_PACKET_BYTES):
        send_packet(left, packet)
    assert [reader.receive(right) for _ in range(3)] == [
        Packet(b"one", ()),
        Packet(b"two", ()),
        Packet(b"x" * MAX_PACKET_BYTES, ()),
    ]


def test_a_descriptor_arrives_as_another_number_for_the_same_file(channel: Channel) -> None:
    left, right = channel
    here, there = socket.socketpair()
    with here, there:
        send_packet(left, b"take", (here.fileno(), there.fileno()))
        packet, descriptors, complete, _ = PacketReader().receive(right)
        assert packet == b"take"
        assert complete
        assert len(descriptors) == 2
        os.write(descriptors[0], b"hello")
        assert there.recv(5) == b"hello"
        for descriptor in descriptors:
            os.close(descriptor)


def test_received_descriptors_do_not_leak_into_children(channel: Channel) -> None:
    left, right = channel
    send_packet(left, b"take", (0,))
    (descriptor,) = PacketReader().receive(right).descriptors
    assert fcntl.fcntl(descriptor, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    os.close(descriptor)


def test_nothing_there_is_not_the_end(channel: Channel) -> None:
    with pytest.raises(BlockingIOError):
        PacketReader().receive(channel[1])


def test_the_end_of_the_other_process_is_a_packet_without_data(channel: Channel) -> None:
    left, right = channel
    left.close()
    assert PacketReader().receive(right) == END


def test_a_packet_sent_just_before_the_end_is_still_read(channel: Channel) -> None:
    left, right = channel
    send_packet(left, b"last words")
    left.close()
    reader = PacketReader()
    assert reader.receive(right) == Packet(b"last words", ())
    assert reader.receive(right) == END


def test_an_end_with_unread_packets_of_ours_is_told_once(channel: Channel) -> None:
    left, right = channel
    send_packet(right, b"never read")
    left.close()  # the kernel reports a reset here, not an end
    reader = PacketReader()
    assert reader.receive(right) == Packet(b"", (), after_reset=True)
    assert reader.receive(right) == END


def test_last_words_are_read_though_the_end_came_with_unread_packets_of_ours(channel: Channel) -> None:
    left, right = channel
    send_packet(right, b"never read")
    send_packet(left, b"last")
    send_packet(left, b"words", (0,))
    left.close()  # the reset is reported ahead of what waits
    reader = PacketReader()
    assert reader.receive(right) == Packet(b"last", (), after_reset=True)
    words = reader.receive(right)
    assert words.data == b"words"
    os.close(words.descriptors[0])
    assert reader.receive(right) == END


def test_a_packet_that_was_looked_at_stays_until_it_is_taken(channel: Channel) -> None:
    left, right = channel
    reader = PacketReader()
    with pytest.raises(BlockingIOError):
        reader.look(right)
    packets = (b"one", b"x" * MAX_PACKET_BYTES, b"three")
    for packet in packets:
        send_packet(left, packet)
    for packet in packets:
        assert reader.look(right) == reader.look(right) == Packet(packet, ())
        assert queued(left.fileno()) > 0
        reader.take(right)
    assert queued(left.fileno()) == 0
    left.close()
    assert reader.look(right) == END


def test_who_ends_with_a_packet_that_was_looked_at_has_left_it_unread(channel: Channel) -> None:
    left, right = channel
    send_packet(left, b"told")
    assert PacketReader().look(right).data == b"told"
    right.close()
    assert PacketReader().receive(left).after_reset


def test_what_was_said_before_a_reset_is_looked_at_and_taken(channel: Channel) -> None:
    left, right = channel
    reader = PacketReader()
    send_packet(right, b"never read")
    for packet in (b"one", b"two"):
        send_packet(left, packet)
    left.close()
    assert reader.look(right) == Packet(b"one", (), after_reset=True)
    reader.take(right)
    assert reader.look(right) == Packet(b"two", ())
    reader.take(right)
    assert reader.look(right) == END


def test_a_packet_is_taken_though_the_reset_came_after_the_look(channel: Channel) -> None:
    left, right = channel
    reader = PacketReader()
    send_packet(right, b"never read")
    send_packet(left, b"one")
    assert reader.look(right).data == b"one"
    left.close()
    reader.take(right)
    assert reader.look(right) == END


def test_descriptors_of_a_packet_that_is_looked_at_and_taken_are_closed(channel: Channel) -> None:
    left, right = channel
    here, there = socket.socketpair()
    with here:
        send_packet(left, b"with", (there.fileno(),))
        there.close()
        reader = PacketReader()
        assert reader.look(right).data == b"with"
        reader.take(right)
        assert here.recv(1) == b""


def test_a_packet_that_is_too_long_is_taken_when_it_is_looked_at(channel: Channel) -> None:
    left, right = channel
    reader = PacketReader()
    send_packet(left, bytes(MAX_PACKET_BYTES + 1))
    send_packet(left, b"next")
    with pytest.raises(HandoverError):
        reader.look(right)
    assert reader.look(right).data == b"next"


def test_a_burst_finds_more_room_than_a_socket_has_by_itself(channel: Channel) -> None:
    with contextlib.ExitStack() as stack:
        plain, _ = map(stack.enter_context, socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        usual = plain.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    assert all(end.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) > usual for end in channel)


@pytest.mark.parametrize(("more", "sessions"), [(-65, 0), (0, 0), (1, 0), (2, 1), (201, 100)])
def test_a_session_needs_two_descriptors_beyond_the_spare_ones(more: int, sessions: int) -> None:
    assert sessions_that_fit(SPARE_DESCRIPTORS + more) == sessions


def _until_it_blocks(step: Callable[[], object]) -> int:
    times = 0
    with contextlib.suppress(BlockingIOError):
        for times in itertools.count():  # noqa: B007 (counts the steps that did not block)
            step()
    return times


def test_a_full_channel_blocks_and_sends_nothing(channel: Channel) -> None:
    left, right = channel
    sent = _until_it_blocks(lambda: send_packet(left, bytes(64 * 1024)))
    reader = PacketReader()
    received = _until_it_blocks(lambda: reader.receive(right))
    assert received == sent > 0


@pytest.mark.parametrize("size", [1, 700, 4000])
def test_a_channel_that_has_room_takes_a_packet_and_one_that_has_none_does_not(
    channel: Channel, size: int
) -> None:
    ours, theirs = channel
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20_000)
    for _ in range(3):
        while has_room(ours):
            send_packet(ours, bytes(size))
        with pytest.raises(BlockingIOError):
            send_packet(ours, b"x")
        assert PacketReader().receive(theirs).data == bytes(size)


def test_a_channel_is_read_out_when_it_has_ended_and_nothing_is_left(channel: Channel) -> None:
    left, right = channel
    send_packet(left, b"last words")
    assert not is_read_out(right)
    left.close()
    assert not is_read_out(right)
    right.recv(100)
    assert is_read_out(right)


def test_who_asks_whether_it_is_read_out_takes_no_reset(channel: Channel) -> None:
    left, right = channel
    send_packet(right, b"never read")
    left.close()
    assert is_read_out(right)
    assert PacketReader().receive(right).after_reset


def test_other_ancillary_data_is_not_taken_for_descriptors(channel: Channel) -> None:
    left, right = channel
    right.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    send_packet(left, b"hello")
    assert PacketReader().receive(right) == Packet(b"hello", ())


def test_a_packet_tells_that_it_came_without_some_of_its_descriptors(channel: Channel) -> None:
    left, right = channel
    before = open_descriptors()
    send_packet(left, b"take", (0,) * (MAX_DESCRIPTORS + 8))
    packet = PacketReader().receive(right)
    assert packet.data == b"take"
    assert not packet.complete
    assert len(packet.descriptors) == MAX_DESCRIPTORS
    for descriptor in packet.descriptors:
        os.close(descriptor)
    assert open_descriptors() == before


def test_a_packet_over_the_size_is_an_error_and_its_descriptors_are_closed(channel: Channel) -> None:
    left, right = channel
    before = open_descriptors()
    send_packet(left, bytes(MAX_PACKET_BYTES + 1), (0,))
    with pytest.raises(HandoverError, match="truncated packet"):
        PacketReader().receive(right)
    assert open_descriptors() == before


def test_what_has_come_and_waits_is_counted_in_bytes() -> None:
    left, right = socket.socketpair()
    with left, right:
        assert arrived(left.fileno()) == 0
        right.sendall(b"12345")
        assert arrived(left.fileno()) == 5
