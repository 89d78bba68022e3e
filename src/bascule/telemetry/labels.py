"""The labels of our metrics and what they may say.

Rules of this file: values come from closed sets or are numbers and names that we choose
ourselves; never a path, a user or an address, so that no peer can make series.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bascule.vocabulary import (
    CLOSE_CODE_LABELS,
    CLOSE_SENDERS,
    REFUSALS_COUNTED,
    Cause,
    Direction,
    EndedBy,
    Kind,
    Opcode,
)

__all__ = ["LABELS", "Label"]


@dataclass(frozen=True, slots=True)
class Label:
    """A label of ours.

    Attributes:
        meaning: For operators.
        values: The closed set of its values; empty where the meaning says what bounds it.
    """

    meaning: str
    values: tuple[str, ...] = ()


LABELS: Final[dict[str, Label]] = {
    "kind": Label("What the session's route leads to. All kinds draw on the one budget.", tuple(Kind)),
    "ended_by": Label("Who ended the session.", tuple(EndedBy)),
    "cause": Label("Why it ended. Only pairs with `ended_by` that can occur have a series.", tuple(Cause)),
    "side": Label(
        "Which connection. For close codes: who sent the Close frame; `proxy` is Bascule itself.",
        CLOSE_SENDERS,
    ),
    "code": Label(
        "Close code; `none` is a Close frame without one.",
        CLOSE_CODE_LABELS,
    ),
    "direction": Label("`inbound`: towards the upstream. `outbound`: towards the browser.", tuple(Direction)),
    "opcode": Label("Opcode of the frame (RFC 6455 §5.2).", tuple(opcode.name.lower() for opcode in Opcode)),
    "reason": Label(
        " ".join(f"`{why}`: {why.meaning}" for why in REFUSALS_COUNTED)
        + " What the client was told is in [the close table](close-table.md#refusals).",
        REFUSALS_COUNTED,
    ),
    "route": Label("Name of a configured route."),
    "forwarder": Label("Slot of the forwarder process, from 0; a successor keeps its predecessor's slot."),
    "gateway": Label(
        "Place of the gateway process, from 0. One that is started again keeps its place; after a reload the "
        "gateway that serves has another place than a former one that still has work to do."
    ),
    "process": Label("Whose collector: only `gateway`, since relaying creates no cycles.", ("gateway",)),
    "outcome": Label(
        "`natural`: ended by itself while draining. `closed`: told to go with 1012. "
        "`aborted`: still open at the deadline and cut off.",
        ("natural", "closed", "aborted"),
    ),
    "status": Label("Class of an HTTP status (RFC 9110 §15).", ("2xx", "3xx", "4xx", "5xx")),
    "version": Label("Version of the running code."),
    "hot_path": Label("Whether the forwarders run the compiled or the pure relay.", ("compiled", "pure")),
}  # fmt: skip
"""Every label but `mp_scope`, `quantile` and `le`."""
