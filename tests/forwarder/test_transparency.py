"""Property: for any split of any valid frame stream, what comes out is what went in, plus our control
frames at boundaries, minus swallowed pings and answers to ours. In both directions at once, with masking keys
as they were.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bascule.handover.counters import ForwarderWord
from bascule.protocol.closing import End
from tests.support.feeding import chopped
from tests.support.frames import BINARY, CLOSE, PING, PONG, Frame, frame, frames_of
from tests.support.framestreams import THEIRS, passes, streams
from tests.support.relaying import World, world

if TYPE_CHECKING:
    from tests.support.farends import Peer

HEARTBEAT = b"\x8a\x00"
BEAT = 10.0


def _theirs(frames: list[Frame]) -> list[bytes]:
    """Return what must pass: everything but pings and answers to ours."""
    return [found.raw for found in frames if passes(found)]


def _without_ours(found: list[Frame]) -> list[bytes]:
    """Return what passed: everything but our pongs."""
    return [one.raw for one in found if not (one.opcode == PONG and not one.payload.startswith(THEIRS))]


def _check(sent: bytes, receiver: Peer) -> None:
    assert receiver.unfinished == b""
    assert _without_ours(receiver.frames) == _theirs(frames_of(sent))


def _check_pongs(pings: bytes, sender: Peer, *, upstream: bool) -> None:
    """Each pong of ours answers a ping that was sent, in their order, and the last ping is answered."""
    asked = [found.payload for found in frames_of(pings) if found.opcode == PING]
    answered = [
        found.payload
        for found in sender.frames
        if found.opcode == PONG and not found.payload.startswith(THEIRS) and found.raw != HEARTBEAT
    ]
    left = iter(asked)
    assert all(pong in left for pong in answered)
    # An empty pong to the browser cannot be told from a heartbeat.
    if asked and (upstream or asked[-1]):
        assert answered[-1] == asked[-1]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_comes_out_is_what_went_in(build: Any, data: st.DataObject) -> None:
    to_upstream = data.draw(streams(masked=True, ends=False), "to the upstream")
    to_browser = data.draw(streams(masked=False, ends=False), "to the browser")
    window = data.draw(st.sampled_from([1, 2, 7, 131, 4096, 65536]), "window")
    if window < 100:  # a byte at a time takes its time
        to_upstream, to_browser = _short(to_upstream), _short(to_browser)
    early_in = data.draw(st.integers(0, min(len(to_upstream), 200)), "early bytes of the browser")
    early_out = data.draw(st.integers(0, min(len(to_browser), 200)), "early bytes of the upstream")
    with world(build, window=window, unix=True, heartbeat=BEAT) as made:
        line = made.open(
            rsv_first=0x40, inbound=to_upstream[:early_in], outbound=to_browser[:early_out], send=4608
        )
        pieces = [(line.browser, piece) for piece in data.draw(chopped(to_upstream[early_in:]))]
        pieces += [(line.upstream, piece) for piece in data.draw(chopped(to_browser[early_out:]))]
        order = data.draw(st.permutations(range(len(pieces)))) if len(pieces) < 30 else range(len(pieces))
        _play(made, _in_order(pieces, list(order)), data)
        made.quiet()
        _check(to_upstream, line.upstream)
        _check(to_browser, line.browser)
        _check_pongs(to_upstream, line.browser, upstream=False)
        _check_pongs(to_browser, line.upstream, upstream=True)


def _short(stream: bytes) -> bytes:
    """Return the whole frames within the first bytes of a stream, as a valid stream."""
    kept = []
    size = 0
    for found in frames_of(stream):
        size += len(found.raw)
        if size > 600:
            break
        kept.append(found.raw)
    return b"".join(kept)


def _in_order(pieces: list[tuple[Peer, bytes]], order: list[int]) -> list[tuple[Peer, bytes]]:
    """Interleave the two directions by a permutation, each in its own order."""
    waiting: dict[int, list[bytes]] = {}
    for peer, piece in pieces:
        waiting.setdefault(id(peer), []).append(piece)
    return [(pieces[index][0], waiting[id(pieces[index][0])].pop(0)) for index in order]


def _play(made: World, pieces: list[tuple[Peer, bytes]], data: st.DataObject) -> None:
    for peer, piece in pieces:
        peer.send(piece)
        match data.draw(st.sampled_from(["turn", "nothing", "beat", "stall"])):
            case "turn":
                made.turn()
            case "beat":
                made.later(BEAT + 1)
            case "stall":
                peer.stalled = not peer.stalled
            case _:
                pass
    for line in made.lines:
        line.browser.stalled = line.upstream.stalled = False


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_an_ending_stream_passes_up_to_its_end(build: Any, data: st.DataObject) -> None:
    """Whatever ends a session, a prefix of what was sent has passed; with a Close, all of it."""
    from_browser = data.draw(st.booleans(), "from the browser")
    sent = data.draw(streams(masked=from_browser, ends=True), "stream")
    cut = data.draw(st.integers(0, len(sent)) | st.just(len(sent)), "cut")
    with world(build, window=4096, unix=True) as made:
        line = made.open(rsv_first=0x40, send=4608)
        sender, receiver = (line.browser, line.upstream) if from_browser else (line.upstream, line.browser)
        for piece in data.draw(chopped(sent[:cut])):
            sender.send(piece)
            made.turn()
        made.until(lambda: not sender.unsent)
        sender.close()
        made.quiet()
        receiver.close()
        made.until(lambda: line.ended)
        assert line.ended is not None

        whole = cut == len(sent)
        passed = _without_ours(receiver.frames)
        expected = _theirs(frames_of(sent[:cut]))
        if whole:
            assert passed == expected
            assert line.ended.end == (End.CLIENT_CLOSED if from_browser else End.UPSTREAM_CLOSED)
            return
        assert line.ended.end == (End.CLIENT_ABORTED if from_browser else End.UPSTREAM_ABORTED)
        assert passed[: len(expected)] == expected
        # Behind it: our Close at a boundary, or the beginning of the frame that never ended.
        behind = receiver.frames[len(receiver.frames) - (len(passed) - len(expected)) :]
        if behind:
            assert [found.opcode for found in behind] == [CLOSE]
            assert receiver.unfinished == b""
        else:
            assert receiver.unfinished
            assert sent[:cut].endswith(receiver.unfinished)


LARGE = st.sampled_from([65_535, 65_536, 65_537, 131_071, 262_144, 262_145, 1_000_000])


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_large_frames_pass_over_tcp_with_control_frames_between_them(build: Any, data: st.DataObject) -> None:
    """The size of a receive window and of a splice make no difference to what arrives."""
    window = data.draw(st.sampled_from([4096, 65_536, 262_144]), "window")
    sizes = data.draw(st.lists(LARGE, min_size=1, max_size=3), "sizes")
    with world(build, window=window, heartbeat=BEAT) as made:
        line = made.open(limit=1 << 21)
        all_sent = {}
        for sender, key in ((line.browser, b"\x01\x02\x03\x04"), (line.upstream, None)):
            sent = b"".join(
                frame(PING, b"p", key=key) + frame(BINARY, bytes([number]) * size, key=key)
                for number, size in enumerate(sizes)
            )
            all_sent[sender] = sent
            sender.send(sent)
        for _ in range(data.draw(st.integers(0, 4), "beats")):
            made.turn()
            made.later(BEAT + 1)
        made.until(lambda: not line.browser.unsent and not line.upstream.unsent)
        made.quiet()
        _check(all_sent[line.browser], line.upstream)
        _check(all_sent[line.upstream], line.browser)
        assert made.word(ForwarderWord.STASHED_BYTES) == 0
