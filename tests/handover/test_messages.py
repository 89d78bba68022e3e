"""Every message between our processes survives encode → decode; a truncated one is refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.errors import HandoverError
from bascule.handover import messages
from bascule.handover.messages import (
    MAX_ANSWER_BYTES,
    MAX_EARLY_BYTES,
    MAX_JOINED_BYTES,
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
    is_outcome,
    join,
)

_u8 = st.integers(0, 2**8 - 1)
_u16 = st.integers(0, 2**16 - 1)
_u32 = st.integers(0, 2**32 - 1)
_u64 = st.integers(0, 2**64 - 1)
_time = st.floats(allow_nan=False)

MESSAGES: dict[type, st.SearchStrategy[Message]] = {
    Adopt: st.builds(
        Adopt,
        id=_u64, kind=_u8, rsv_first=_u8, rsv_continuation=_u8, opened_at=_time, frame_limit=_u64,
        tag=st.binary(max_size=300), answer=st.binary(max_size=300), inbound=st.binary(max_size=300),
        outbound=st.binary(max_size=300),
    ),
    Close: st.builds(
        Close, id=_u64, end=_u8, code=_u16, within=_time, reason=st.binary(max_size=255)
    ),
    List: st.builds(List, request=_u32),
    Ended: st.builds(
        Ended,
        id=_u64, kind=_u8, end=_u8, code=_u16, duration=_time, idle=_time, payload_inbound=_u64,
        payload_outbound=_u64, frames_inbound=_u64, frames_outbound=_u64, reason=st.binary(max_size=255),
        tag=st.binary(max_size=300),
    ),
    Live: st.builds(
        Live,
        request=_u32, id=_u64, kind=_u8, opened_at=_time, idle=_time, round_trip=_time, payload_inbound=_u64,
        payload_outbound=_u64, frames_inbound=_u64, frames_outbound=_u64, tag=st.binary(max_size=300),
    ),
    Listed: st.builds(Listed, request=_u32),
    Moved: st.builds(Moved),
}  # fmt: skip

ANY = st.one_of(*MESSAGES.values())


def test_every_message_has_a_strategy() -> None:
    assert set(MESSAGES) == set(Message.__args__)


SOME = st.lists(ANY, min_size=1, max_size=8)


@given(messages=SOME)
def test_what_was_sent_is_what_is_read(messages: list[Message]) -> None:
    found = decode(b"".join(message.encode() for message in messages))
    assert [(type(message), message) for message in found] == [
        (type(message), message) for message in messages
    ]


@given(messages=SOME.filter(lambda messages: len(messages[-1].encode()) > 1), data=st.data())
def test_a_packet_cut_inside_a_message_is_refused(messages: list[Message], data: st.DataObject) -> None:
    *before, last = (message.encode() for message in messages)
    cut = data.draw(st.integers(1, len(last) - 1))
    with pytest.raises(HandoverError):
        decode(b"".join(before) + last[:cut])


@given(messages=SOME, more=st.binary(min_size=1, max_size=20))
def test_bytes_behind_a_message_are_messages_too_or_refused(messages: list[Message], more: bytes) -> None:
    packet = b"".join(message.encode() for message in messages) + more
    try:
        found = decode(packet)
    except HandoverError:
        return
    assert found[: len(messages)] == messages
    assert sum(len(message.encode()) for message in found) == len(packet)


@given(packet=st.binary(max_size=200))
def test_any_bytes_are_messages_or_a_handover_error(packet: bytes) -> None:
    try:
        messages = decode(packet)
    except HandoverError:
        return
    assert messages
    assert messages[0].encode()[:1] == packet[:1]


@given(sizes=st.lists(st.integers(1, MAX_JOINED_BYTES + 100), min_size=1, max_size=2 * MAX_JOINED_MESSAGES))
def test_packets_keep_order_and_bounds(sizes: list[int]) -> None:
    waiting = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
    packets = []
    while waiting:
        packet, number = join(waiting)
        assert packet == b"".join(waiting[:number])
        assert 1 <= number <= MAX_JOINED_MESSAGES
        assert len(packet) <= MAX_JOINED_BYTES or number == 1
        packets.append(packet)
        waiting = waiting[number:]
    assert sum(map(len, packets)) == sum(sizes)


def test_a_packet_is_filled_to_its_bounds_and_no_further() -> None:
    half = bytes(MAX_JOINED_BYTES // 2)
    assert join([half, half, b"x"]) == (half + half, 2)
    assert join([half, half + b"x"]) == (half, 1)
    assert join([b"x"] * (MAX_JOINED_MESSAGES + 1)) == (b"x" * MAX_JOINED_MESSAGES, MAX_JOINED_MESSAGES)
    assert join([half + half + b"x", b"y"]) == (half + half + b"x", 1)


@pytest.mark.parametrize("part", ["tag", "answer", "inbound", "outbound"])
def test_a_part_that_is_cut_is_refused(part: str) -> None:
    parts = {"tag": b"", "answer": b"", "inbound": b"", "outbound": b"", part: b"two"}
    packet = Adopt(1, 0, 0, 0, 0.0, 1, **parts).encode()
    with pytest.raises(HandoverError, match=f"packet of {len(packet) - 1} bytes, {len(packet)} announced"):
        decode(packet[:-1])


@given(message=ANY)
def test_an_outcome_is_told_from_other_messages(message: Message) -> None:
    assert is_outcome(message.encode()) is isinstance(message, Ended)


@pytest.mark.parametrize("packet", [b"", b"Z", b"\x00" * 100])
def test_an_unknown_message_is_refused(packet: bytes) -> None:
    with pytest.raises(HandoverError, match="unknown message type"):
        decode(packet)


def test_an_adoption_with_all_the_early_bytes_there_can_be_fits_a_packet() -> None:
    """The longest tag has a route of 2048 bytes, a user of 1024, an endpoint of 260 and an address of 64."""
    early = bytes(MAX_EARLY_BYTES)
    adopt = Adopt(1, 0, 0, 0, 0.0, 1, bytes(3400), bytes(MAX_ANSWER_BYTES), early, early)
    assert len(adopt.encode()) <= MAX_PACKET_BYTES


def test_the_layout_that_the_module_describes_is_the_one_there_is() -> None:
    assert messages.__doc__ is not None
    found = dict(re.findall(r"^    (\w+) +\w  ((?:.+|\n {15})+)", messages.__doc__, re.MULTILINE))
    described = {
        name: "=c" + "".join(letter * int(count or 1) for count, letter in re.findall(r":(\d?)(\w)", fields))
        for name, fields in found.items()
    }
    structs = {"Adopt": messages._ADOPT, "Close": messages._CLOSE, "List": messages._LIST}
    structs |= {"Ended": messages._ENDED, "Live": messages._LIVE, "Listed": messages._LIST}
    assert described == {name: struct.format for name, struct in structs.items()}
