"""Valid streams of frames, drawn by Hypothesis."""

from typing import Final

from hypothesis import strategies as st

from bascule.protocol.frames import OUR_PING_PAYLOAD
from tests.support.frames import BINARY, CONTINUATION, PING, PONG, TEXT, Frame, close, frame

__all__ = ["THEIRS", "passes", "streams"]

THEIRS: Final = b"theirs"
"""Begins the payload of every pong a peer sends by itself, so that it is told from ours. A browser
also sends such with the payload of our pings."""


def passes(found: Frame) -> bool:
    """Tell whether a peer's frame is passed on: not a ping, nor a browser's answer to one of ours."""
    answers_us = found.opcode == PONG and found.key is not None and found.payload == OUR_PING_PAYLOAD
    return found.opcode != PING and not answers_us


_SIZES: Final = st.one_of(
    st.integers(0, 20),
    st.sampled_from([124, 125, 126, 127, 128, 300, 4000]),
    st.sampled_from([65535, 65536, 70000]),
)


@st.composite
def streams(draw: st.DrawFn, *, masked: bool, ends: bool) -> bytes:
    """Draw a valid stream of frames: messages in fragments, with control frames in between."""
    out = []

    def key() -> bytes | None:
        return draw(st.binary(min_size=4, max_size=4)) if masked else None

    def controls() -> None:
        for opcode in draw(st.lists(st.sampled_from([PING, PONG]), max_size=2)):
            pongs = st.sampled_from([THEIRS, OUR_PING_PAYLOAD]) if masked else st.just(THEIRS)
            text = draw(st.binary(max_size=20) if opcode == PING else pongs)
            out.append(frame(opcode, text, key=key()))

    for _ in range(draw(st.integers(0, 5))):
        controls()
        fragments = draw(st.integers(1, 4))
        for index in range(fragments):
            size = draw(_SIZES)
            opcode = CONTINUATION if index else draw(st.sampled_from([TEXT, BINARY]))
            rsv = 0x40 if not index and draw(st.booleans()) else 0
            payload = (bytes(range(256)) * (size // 256 + 1))[:size]
            out.append(frame(opcode, payload, fin=index == fragments - 1, rsv=rsv, key=key()))
            if index < fragments - 1:
                controls()
    controls()
    if ends:
        out.append(close(draw(st.sampled_from([None, 1000, 1001, 4321])), key=key()))
    return b"".join(out)
