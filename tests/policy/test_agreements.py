"""What upstreams say to an upgrade, read once; what was remembered never stands for another answer."""

from __future__ import annotations

import base64

import pytest

from bascule.policy import agreements
from bascule.policy.agreements import Agreements
from bascule.protocol.handshake import RSV1, Agreement, Offer, accept_value
from bascule.protocol.http1 import BadHead, ResponseHead

KEYS = [base64.b64encode(b"sixteen bytes %02d" % number) for number in range(3)]
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"


def offer(*subprotocols: bytes, extensions: tuple[bytes, ...] = (b"permessage-deflate",)) -> Offer:
    return Offer(b"", subprotocols, frozenset(extensions), b"front", None)


def switching(accept: bytes, more: bytes = b"", status: bytes = b"101 Switching Protocols") -> bytes:
    return (
        b"HTTP/1.1 " + status + b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\nServer: app\r\n" + more + b"\r\n"
    )


def answer(number: int, more: bytes = b"") -> bytes:
    return switching(accept_value(KEYS[number]), more)


def test_an_agreement_has_all_that_travels_on_to_the_browser() -> None:
    read = Agreements(20).read(
        answer(0, DEFLATE + b"Sec-WebSocket-Other: x\r\nKeep-Alive: 5\r\n"), offer(), KEYS[0]
    )
    extensions = (b"Sec-WebSocket-Extensions", b"permessage-deflate")
    assert read == Agreement(RSV1, 0, (extensions, (b"Server", b"app")))


def test_the_same_answer_to_another_key_means_the_same() -> None:
    known = Agreements(20)
    first = known.read(answer(0, DEFLATE), offer(), KEYS[0])
    assert known.read(answer(1, DEFLATE), offer(), KEYS[1]) is first


def test_another_answer_or_offer_is_read_anew() -> None:
    known = Agreements(20)
    known.read(answer(0, DEFLATE), offer(), KEYS[0])
    assert known.read(answer(1), offer(), KEYS[1]) == Agreement(0, 0, ((b"Server", b"app"),))
    with pytest.raises(BadHead):
        known.read(answer(1, DEFLATE), offer(extensions=()), KEYS[1])
    chosen = b"Sec-WebSocket-Protocol: a\r\n"
    assert isinstance(known.read(answer(0, chosen), offer(b"a"), KEYS[0]), Agreement)
    with pytest.raises(BadHead):
        known.read(answer(1, chosen), offer(b"b"), KEYS[1])


@pytest.mark.parametrize(
    "accept", [b"", b"\0", accept_value(KEYS[0]), accept_value(KEYS[2]), accept_value(KEYS[1]) + b"x"]
)
def test_a_wrong_answer_to_our_key_is_refused_whatever_was_right_before(accept: bytes) -> None:
    known = Agreements(20)
    for _ in range(2):
        assert isinstance(known.read(answer(0), offer(), KEYS[0]), Agreement)
        with pytest.raises(BadHead):
            known.read(switching(accept), offer(), KEYS[1])
        with pytest.raises(BadHead):
            known.read(switching(accept, b"X: " + accept_value(KEYS[1]) + b"\r\n"), offer(), KEYS[1])


def test_a_right_answer_in_the_wrong_place_is_refused_though_that_place_held_one_before() -> None:
    known = Agreements(20)
    right, copy = accept_value(KEYS[0]), b"X-Copy: " + accept_value(KEYS[0]) + b"\r\n"
    assert isinstance(known.read(switching(right, copy), offer(), KEYS[0]), Agreement)
    head = switching(right, copy)
    for place in (head.find(right), head.rfind(right)):
        mixed = head[:place] + accept_value(KEYS[1]) + head[place + len(right) :]
        if place == head.find(right):
            assert isinstance(known.read(mixed, offer(), KEYS[1]), Agreement)
        else:
            with pytest.raises(BadHead):
                known.read(mixed, offer(), KEYS[1])


def test_a_copy_in_front_of_the_answer_is_not_taken_for_it_later() -> None:
    known = Agreements(20)
    first, second = accept_value(KEYS[0]), accept_value(KEYS[1])
    assert isinstance(known.read(b"HTTP/1.1 101 " + first + answer(0)[31:], offer(), KEYS[0]), Agreement)
    with pytest.raises(BadHead):
        known.read(b"HTTP/1.1 101 " + second + answer(0)[31:], offer(), KEYS[1])


def test_what_is_no_101_is_a_head() -> None:
    known = Agreements(20)
    for key in KEYS[:2]:
        read = known.read(switching(accept_value(key), status=b"200 OK"), offer(), key)
        assert isinstance(read, ResponseHead)
        assert read.status == 200
    assert not len(known)


def test_no_more_agreements_are_remembered_than_the_bound_and_no_long_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(agreements, "_REMEMBERED", 10)
    known = Agreements(20)
    for number in range(35):
        known.read(answer(0, b"Date: %d\r\n" % number), offer(), KEYS[0])
        assert len(known) <= 10
    known = Agreements(20)
    known.read(answer(0, b"X: " + bytes(b"x" * 2048) + b"\r\n"), offer(), KEYS[0])
    known.read(answer(0), offer(b"x" * 2048), KEYS[0])
    known.read(answer(0), offer(extensions=(b"x" * 2048,)), KEYS[0])
    assert not len(known)
