"""The page of log lines: all that the source writes, with all the fields that a reader may filter by."""

from __future__ import annotations

import pytest
from scripts.log_reference import EVENTS, MORE, page, written

from bascule.telemetry.accesslog import AccessLog
from bascule.telemetry.errand import Client
from bascule.vocabulary import Refusal
from tests.support.recorder import Recorder
from tests.support.sessionend import END, ERRAND


def fields_of(event: str) -> set[str]:
    """What the page says of an event."""
    named = [set(call.fields) for call in written() if call.event == event]
    return set().union(*named, MORE.get(event, ()))


def test_the_lines_that_are_public_have_the_fields_of_the_page() -> None:
    recorder = Recorder()
    log = AccessLog(recorder, debugs=True)
    log.session_ended(END._replace(close_reason="x"))
    log.session_refused(Refusal.CAP, ERRAND, status=503, close_code=1013, held_seconds=1.0, detail="x")
    log.request_failed("timeout", ERRAND, status=504, detail="x")
    log.request_answered(ERRAND, "GET", 200, 0.1)
    log.request_refused(Client("10.1.2.3", "x"), 404, "x")

    said = {event: set(fields) for event, fields in (*recorder.seen, *recorder.debugged)}
    requests = {"request failed", "request answered", "request refused"}
    assert said.keys() == {"session ended", "session refused", *requests}
    for event, fields in said.items():
        assert fields_of(event) == fields


def test_every_line_has_a_meaning_once() -> None:
    meanings = [event for events in EVENTS.values() for event in events]
    assert len(meanings) == len(set(meanings))
    assert {call.event for call in written()} == set(meanings)


@pytest.mark.parametrize("group", ["Reload", "Processes"])
def test_a_line_without_a_meaning_and_a_meaning_without_a_line_are_named(
    monkeypatch: pytest.MonkeyPatch, group: str
) -> None:
    monkeypatch.setitem(EVENTS, group, {"never written": "Nothing."})
    with pytest.raises(ValueError, match="never written"):
        page()
