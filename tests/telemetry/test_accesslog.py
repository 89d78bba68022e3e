"""One line for each session, whatever the peer calls itself; and it is cheap."""

from __future__ import annotations

import re
import sys
import time
from typing import TYPE_CHECKING

import pytest
import structlog

from bascule.telemetry.accesslog import AccessLog
from bascule.telemetry.errand import Client, Errand
from bascule.vocabulary import Kind, Refusal
from tests.support.parts import ROOT
from tests.support.recorder import Recorder
from tests.support.sessionend import END, ERRAND
from tests.support.waiting import quickest

if TYPE_CHECKING:
    from tests.telemetry.logfile import Log

EVIL = "\x1b[31m\r\nforged\u2028"


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def test_an_ended_session_says_who_where_how_long_how_much_and_why(recorder: Recorder) -> None:
    AccessLog(recorder).session_ended(END)

    assert recorder.seen == [
        (
            "session ended",
            {
                "id": "00000000000012ab", "route": "lab", "kind": "jupyter", "ended_by": "client",
                "cause": "closed", "close_code": 1001, "duration_seconds": 1234.568,
                "bytes_inbound": 1, "bytes_outbound": 2, "frames_inbound": 3, "frames_outbound": 4,
                "client": "10.1.2.3", "upstream": "lab:8888", "user": "alice",
                "request_id": "f81d4fae", "forwarder": 0,
            },
        )
    ]  # fmt: skip


def test_what_is_not_known_is_left_out(recorder: Recorder) -> None:
    AccessLog(recorder).session_ended(
        END._replace(errand=ERRAND._replace(user=None), close_code=None, forwarder=None, bytes_inbound=None)
    )
    absent = {"close_code", "close_reason", "user", "forwarder", "bytes_inbound"}
    assert not absent & recorder.seen[0][1].keys()


def test_peers_texts_are_escaped_and_bounded(recorder: Recorder) -> None:
    access = AccessLog(recorder)
    errand = Errand("lab", Kind.JUPYTER, EVIL * 100, EVIL * 100, EVIL * 100, request_id=EVIL * 100)
    access.session_ended(END._replace(errand=errand, close_reason=EVIL.encode() * 100))
    access.session_refused(Refusal.CAP, errand, detail=EVIL * 100)
    access.session_refused(Refusal.HANDSHAKE, Client(EVIL * 100, EVIL * 100))
    access.request_failed("unreachable", errand, status=502, detail=EVIL * 100)

    for _, fields in recorder.seen:
        texts = [value for value in fields.values() if isinstance(value, str)]
        assert all(text.isprintable() for text in texts)
        assert max(map(len, texts)) < 1000


def test_a_refusal_says_why_and_how_it_was_answered(recorder: Recorder) -> None:
    access = AccessLog(recorder)

    access.session_refused(Refusal.HANDSHAKE, Client("10.1.2.3", "x-1"), status=426)
    access.session_refused(Refusal.CAP, ERRAND, close_code=1013, held_seconds=2.00049, detail="3 times")

    assert recorder.seen == [
        (
            "session refused",
            {"reason": "handshake", "client": "10.1.2.3", "request_id": "x-1", "status": 426},
        ),
        (
            "session refused",
            {
                "reason": "cap", "client": "10.1.2.3", "route": "lab", "kind": "jupyter",
                "upstream": "lab:8888", "close_code": 1013,
                "held_seconds": 2.0, "user": "alice", "request_id": "f81d4fae", "detail": "3 times",
            },
        ),
    ]  # fmt: skip


def test_the_page_for_operators_has_a_row_for_every_refusal() -> None:
    page = (ROOT / "docs/howto/debug-a-closed-session.md").read_text()
    table = page.partition("## Refused")[2].partition("## ")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == sorted(Refusal)


def test_a_line_costs_little_enough_for_a_thousand_sessions_a_second(log: Log) -> None:
    """About 20 µs on the computer this was written on; the bounds leave room for a busy one and coverage."""
    log.configure()
    access = AccessLog(structlog.get_logger().bind())

    def each() -> float:
        begin = time.process_time()
        for _ in range(1000):
            access.session_ended(END)
        return (time.process_time() - begin) / 1000

    bound = 100e-6 if sys.gettrace() is None else 1e-3
    assert quickest(each, bound) < bound
    assert len(log.lines()) >= 1000
    assert log.events()[0]["kind"] == "jupyter"


def test_a_refused_request_is_of_use_only_to_who_looks_for_it(recorder: Recorder) -> None:
    AccessLog(recorder).request_refused(Client(EVIL), 404, "There is nothing at this address.")

    assert recorder.seen == []
    ((event, fields),) = recorder.debugged
    assert (event, fields["status"]) == ("request refused", 404)
    assert fields["detail"] == "There is nothing at this address."
    assert str(fields["client"]).isprintable()


def test_a_request_that_was_answered_has_a_line_only_where_somebody_looks_for_it(recorder: Recorder) -> None:
    errand = ERRAND._replace(client=EVIL)
    AccessLog(recorder).request_answered(errand, "GET", 200, 0.1)
    assert recorder.debugged == []

    AccessLog(recorder, debugs=True).request_answered(errand, "M" * 100, 404, 1.23456)

    assert recorder.seen == []
    ((event, fields),) = recorder.debugged
    assert (event, fields["status"], fields["duration_seconds"]) == ("request answered", 404, 1.235)
    assert fields["route"] == ERRAND.route
    assert len(str(fields["method"])) < 40
    assert str(fields["client"]).isprintable()
