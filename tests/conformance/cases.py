"""Which Autobahn cases are run, and where the verdict through Bascule may differ from the direct one.

The table is the only place for a difference: `test_autobahn.py` demands every other verdict to be the
direct one, and every row of the table to be true, so that a row cannot outlive its reason.
"""

from dataclasses import dataclass
from typing import Final

__all__ = ["BROWSER", "DIFFERENCES", "GROUPS", "UPSTREAM", "Difference", "Group"]

BROWSER: Final = "browser"
"""The suite is the browser; an echo server is the upstream."""

UPSTREAM: Final = "upstream"
"""The suite is the upstream; an echo client is the browser."""


@dataclass(frozen=True)
class Group:
    """Cases of one subject.

    Attributes:
        cases: Their numbers, in the suite's own patterns.
        subject: What they are about.
        sides: Which ends of Bascule they are run against.
        left_out: Which cases of the subject are not run, and why; empty when all are.
    """

    cases: tuple[str, ...]
    subject: str
    sides: tuple[str, ...] = (BROWSER, UPSTREAM)
    left_out: str = ""


GROUPS: Final = (
    Group(("1.*",), "Framing: text and binary messages of all lengths"),
    Group(("2.*",), "Pings and pongs"),
    Group(("3.*",), "Reserved bits"),
    Group(("4.*",), "Reserved opcodes"),
    Group(("5.*",), "Fragmentation"),
    Group(("6.*",), "UTF-8"),
    Group(("7.*",), "Closing handshake and close codes"),
    Group(
        ("9.1.*", "9.2.*", "9.5.*", "9.7.*"),
        "Messages up to 16 MiB",
        (BROWSER,),
        "9.3, 9.4 (the echo server itself fails some of them), 9.6 and 9.8 (the same in slow chops)",
    ),
    Group(("10.*",), "Automatic fragmentation"),
    Group(
        ("12.1.1", "12.1.2", "12.1.5", "12.2.1", "13.1.1", "13.3.1"),
        "permessage-deflate, negotiated end to end",
        (BROWSER,),
        "most of 12 and 13: minutes of zlib in the peers, for payload that Bascule does not look at",
    ),
)


@dataclass(frozen=True)
class Difference:
    """A verdict that is another one through Bascule.

    Attributes:
        case: The case's number.
        side: Which end of Bascule faces the suite.
        direct: Verdict of the peer alone: its behaviour and its closing behaviour.
        proxied: Verdict through Bascule.
        why: What Bascule does and why it is right to.
        at_times: Whether it depends on what happens to arrive together; then the direct verdict is right too.
    """

    case: str
    side: str
    direct: tuple[str, str]
    proxied: tuple[str, str]
    why: str
    at_times: bool = False


DIFFERENCES: Final[tuple[Difference, ...]] = ()
"""None: what Bascule enforces (framing, masks, close codes) the direct peer enforces too, and pings are
answered alike."""
