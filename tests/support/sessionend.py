"""The end of a session as the access log is told of it."""

from __future__ import annotations

from typing import Final

from bascule.telemetry.accesslog import SessionEnd
from bascule.telemetry.errand import Errand
from bascule.vocabulary import Cause, EndedBy, Kind

__all__ = ["END", "ERRAND"]

ERRAND: Final = Errand("lab", Kind.JUPYTER, "10.1.2.3", "lab:8888", "alice", request_id="f81d4fae")
END: Final = SessionEnd(
    id="00000000000012ab", errand=ERRAND, ended_by=EndedBy.CLIENT, cause=Cause.CLOSED, duration=1234.56789,
    close_code=1001, forwarder=0,
    bytes_inbound=1, bytes_outbound=2, frames_inbound=3, frames_outbound=4,
)  # fmt: skip
