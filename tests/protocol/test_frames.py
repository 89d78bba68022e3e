"""The layout of a frame (RFC 6455 §5.2), with the literals of §5.7."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.protocol.frames import (
    HEARTBEAT,
    CloseCode,
    CloseFrame,
    CloseWatch,
    close_frame,
    close_payload,
    control_frame,
    is_wire_code,
    mask,
    parse_close_payload,
)
from bascule.vocabulary import Opcode
from tests.support import frames

KEY = bytes.fromhex("37fa213d")

CODES_OF_THE_WIRE = [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999]
CODES_NEVER_ON_THE_WIRE = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]


# -- RFC 6455 §5.7, as printed there ----------------------------------------------------------


def test_masked_hello_of_the_rfc() -> None:
    assert frames.header(1, 5, key=KEY) + mask(b"Hello", KEY) == bytes.fromhex("818537fa213d7f9f4d5158")


def test_ping_and_masked_pong_of_the_rfc() -> None:
    assert control_frame(Opcode.PING, b"Hello") == bytes.fromhex("890548656c6c6f")
    assert control_frame(Opcode.PONG, b"Hello", KEY) == bytes.fromhex("8a8537fa213d7f9f4d5158")


def test_heartbeat_is_an_empty_unmasked_pong() -> None:
    assert frames.frames_of(HEARTBEAT) == [frames.Frame(frames.PONG, b"", True, 0, None, b"\x8a\x00")]


@given(payload=st.binary(max_size=300), key=st.binary(min_size=4, max_size=4))
def test_mask_agrees_with_the_rfc_formula_and_is_its_own_inverse(payload: bytes, key: bytes) -> None:
    formula = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
    assert mask(payload, key) == frames.xor(payload, key) == formula
    assert mask(mask(payload, key), key) == payload


# -- control frames -------------------------------------------------------------------------------


def test_a_control_frame_may_have_125_bytes() -> None:
    assert len(control_frame(Opcode.PING, bytes(125), KEY)) == 2 + 4 + 125


def test_control_frame_of_126_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="126 bytes, at most 125"):
        control_frame(Opcode.PING, bytes(126))


# -- close ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", CODES_OF_THE_WIRE)
def test_code_of_the_wire_round_trips(code: int) -> None:
    assert is_wire_code(code)
    assert parse_close_payload(close_payload(code, b"why")) == CloseFrame(code, b"why")


@pytest.mark.parametrize("code", CODES_NEVER_ON_THE_WIRE)
def test_code_that_may_not_be_sent_is_neither_built_nor_read(code: int) -> None:
    assert not is_wire_code(code)
    assert parse_close_payload(code.to_bytes(2, "big")) is None
    with pytest.raises(ValueError, match="may not appear on the wire"):
        close_payload(code)


def test_every_code_we_send_may_appear_on_the_wire() -> None:
    assert [code for code in CloseCode if not is_wire_code(code)] == []


def test_close_without_a_code_is_empty() -> None:
    assert close_frame(None) == b"\x88\x00"
    assert parse_close_payload(b"") == CloseFrame(None, b"")


def test_close_with_one_byte_is_refused() -> None:
    assert parse_close_payload(b"\x03") is None


def test_reason_is_bytes_or_text() -> None:
    assert close_payload(1012, "déjà vu") == close_payload(1012, "déjà vu".encode())


def test_reason_of_123_bytes_fits_and_of_124_is_cut() -> None:
    assert close_payload(1000, b"x" * 123)[2:] == b"x" * 123
    assert close_payload(1000, b"x" * 124)[2:] == b"x" * 123


def test_reason_is_cut_between_characters() -> None:
    # 61 two-byte characters are 122 bytes; the 62nd would end at 124.
    assert close_payload(1000, "é" * 62)[2:].decode() == "é" * 61


def test_reason_that_is_no_utf_8_passes_unchanged() -> None:
    assert parse_close_payload(b"\x03\xe8\xff\xfe") == CloseFrame(1000, b"\xff\xfe")


def test_close_towards_the_upstream_is_masked() -> None:
    (said,) = frames.frames_of(close_frame(1001, "gone", KEY))
    assert (said.key, said.code, said.reason) == (KEY, 1001, b"gone")


# -- finding one where nobody relays ----------------------------------------------------------------

FRAMES = st.one_of(
    st.builds(
        frames.frame,
        st.sampled_from([0, 1, 2]),
        # Full of what could be taken for a Close, or for headers of any size.
        st.one_of(st.integers(0, 130), st.sampled_from([65535, 65536])).map(lambda size: b"\x88\x00" * size),
        fin=st.booleans(),
        key=st.sampled_from([None, KEY]),
    ),
    st.builds(
        frames.frame,
        st.sampled_from([8, 9, 10]),
        st.binary(max_size=125),
        key=st.sampled_from([None, KEY]),
    ),
)


@st.composite
def cut(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """Cut bytes into pieces, some of them empty."""
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[start:end] for start, end in itertools.pairwise([0, *cuts, len(data)])]


def found_in(*pieces: bytes) -> bool:
    """Tell whether a Close is found, with as little kept in between as there should be."""
    watch = CloseWatch()
    for piece in pieces:
        watch.feed(piece)
        assert len(watch._header) < 14
    return watch.seen


@given(st.lists(FRAMES, max_size=5), st.integers(0, 20), st.data())
def test_a_close_is_found_among_frames_of_any_size_however_they_are_cut(
    said: list[bytes], missing: int, data: st.DataObject
) -> None:
    whole = b"".join(said)
    whole = whole[: max(0, len(whole) - missing)]
    expected = any(found.opcode == frames.CLOSE for found in frames.frames_of(whole))
    assert found_in(*data.draw(cut(whole))) is expected


@given(st.binary(max_size=300), st.data())
def test_bytes_of_any_kind_are_taken_the_same_however_they_are_cut(said: bytes, data: st.DataObject) -> None:
    assert found_in(*data.draw(cut(said))) is found_in(said)


@pytest.mark.parametrize(
    "nonsense",
    [
        frames.header(frames.TEXT, 1 << 63, form=64),
        frames.header(frames.TEXT, 125, form=16, key=KEY),
        frames.header(frames.TEXT, 65535, form=64, key=KEY),
        frames.header(frames.TEXT, 0, rsv=0x40),
        frames.header(3, 0),
        frames.header(0xB, 0, key=KEY),
        frames.header(frames.PING, 0, fin=False),
        frames.header(frames.CLOSE, 0, fin=False),
        frames.header(frames.CLOSE, 126, key=KEY),
        b"GET / HTTP/1.1\r\n",
    ],
)
def test_behind_what_is_no_frame_nothing_is_taken_for_a_close(nonsense: bytes) -> None:
    said = nonsense + close_frame(1000) * 1000
    assert not found_in(said)
    assert not found_in(*(bytes([byte]) for byte in said))


def test_a_frame_of_any_length_is_waited_for_without_being_kept() -> None:
    said = frames.header(frames.BINARY, (1 << 63) - 1, key=KEY)
    assert not found_in(said, *[close_frame(1000) * 1000] * 10)


def test_a_close_counts_when_all_of_it_has_come() -> None:
    watch = CloseWatch()
    first, last = close_frame(1000, "bye", KEY)[:-1], close_frame(1000, "bye", KEY)[-1:]
    assert [watch.feed(first), watch.feed(last), watch.feed(b"more")] == [False, True, True]


def frame_of(length: int, mask_bit: int) -> bytes:
    """Return a binary frame with a payload of zeros, its length written as briefly as it can be."""
    if length < 126:
        size = bytes([mask_bit | length])
    elif length < 1 << 16:
        size = bytes([mask_bit | 126]) + length.to_bytes(2, "big")
    else:
        size = bytes([mask_bit | 127]) + length.to_bytes(8, "big")
    return b"\x82" + size + bytes(4 if mask_bit else 0) + bytes(length)


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65535, 65536])
@pytest.mark.parametrize("mask_bit", [0, 0x80])
def test_a_close_behind_a_frame_of_any_length_is_found_with_its_last_byte(length: int, mask_bit: int) -> None:
    data = frame_of(length, mask_bit) + close_frame(1000, "bye")
    watch = CloseWatch()
    assert not watch.feed(data[:-1])
    assert watch.feed(data[-1:])
    bytewise = CloseWatch()
    assert [bytewise.feed(data[place : place + 1]) for place in range(20)] == [
        place + 1 >= len(data) for place in range(20)
    ]


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(b"\xc2\x00", id="RSV1"),
        pytest.param(b"\x92\x00", id="RSV3"),
        pytest.param(b"\x83\x00", id="reserved-opcode"),
        pytest.param(b"\x8b\x00", id="reserved-control-opcode"),
        pytest.param(b"\x09\x00", id="fragmented-ping"),
        pytest.param(b"\x89\x7e\x00\x7e" + bytes(126), id="long-ping"),
        pytest.param(b"\x82\x7e\x00\x7d" + bytes(125), id="not-minimal-16"),
        pytest.param(b"\x82\x7f" + (65535).to_bytes(8, "big") + bytes(65535), id="not-minimal-64"),
        pytest.param(b"\x82\x7f\x80" + bytes(7), id="highest-bit"),
    ],
)
def test_no_close_is_found_behind_what_is_no_frame(header: bytes) -> None:
    assert not CloseWatch().feed(header + close_frame(1000))


def test_close_codes_are_those_of_the_rfc_and_its_registry() -> None:
    assert {code.name: int(code) for code in CloseCode} == {
        "GOING_AWAY": 1001,
        "PROTOCOL_ERROR": 1002,
        "POLICY_VIOLATION": 1008,
        "MESSAGE_TOO_BIG": 1009,
        "SERVICE_RESTART": 1012,
        "TRY_AGAIN_LATER": 1013,
        "BAD_GATEWAY": 1014,
    }
