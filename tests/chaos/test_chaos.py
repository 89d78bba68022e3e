"""A short run finds nothing, and the oracle finds what should not be."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from bascule.protocol.closing import End
from bascule.vocabulary import Direction
from tests.chaos.chronicle import Chronicle, Story
from tests.chaos.figures import gone_back
from tests.chaos.holdings import exceeds
from tests.chaos.oracle import DOWN, FULL, Oracle
from tests.chaos.wire import PAYLOAD, Message, Said
from tests.support.frames import BINARY, CONTINUATION
from tests.support.parts import ROOT
from tests.support.series import read_series

NUMBER = 7
GOODBYE = Said(1000, "goodbye")
ENDED = {"event": "session ended", "client": "10.0.0.7", "duration_seconds": 9}
MOVED = {"bytes_inbound": 20, "frames_inbound": 2, "bytes_outbound": 0, "frames_outbound": 0}
LINE = ENDED | MOVED | {"ended_by": "client", "cause": "closed"}
LOST = ENDED | {"ended_by": "proxy", "cause": "internal", "forwarder": 1}


def test_a_short_run_finds_nothing() -> None:
    command = [sys.executable, "-m", "tests.chaos", "--variant", "plain", "--seed", "4", "--minutes", "0.08"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.endswith("chaos: every invariant held; seed 4\n")


@pytest.fixture
def chronicle() -> Chronicle:
    """Return that of a session, open from 100 to 109, which its browser closed."""
    chronicle = Chronicle()
    story = Story(NUMBER, "always", began=100.0, opened_at=100.0, over_at=109.0, active_at=108.0, proven=True)
    story.did, story.said, story.heard, story.upstream_heard = {End.CLIENT_CLOSED}, GOODBYE, GOODBYE, GOODBYE
    for tally in (story.sent[Direction.INBOUND], story.came[Direction.INBOUND]):
        tally.update({BINARY: 2, PAYLOAD: 20})
    chronicle.stories[NUMBER] = story
    chronicle.states = {
        "always": [(0.0, {1})],
        "idle": [(0.0, {0})],
        "pong": [(0.0, {0})],
        "cap": [(0.0, {5})],
    }
    return chronicle


def findings(chronicle: Chronicle, *lines: dict[str, Any], has_tls: bool = False) -> list[str]:
    return list(Oracle(chronicle, lines, has_tls=has_tls).findings())


def test_a_session_that_its_browser_closed_is_as_it_should_be(chronicle: Chronicle) -> None:
    assert findings(chronicle, LINE) == []


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "it has no line"),
        ([LINE, LINE], "it has several lines"),
        ([LINE | {"cause": "aborted"}], "permitted are ['CLIENT_CLOSED']"),
        ([LOST], "permitted are ['CLIENT_CLOSED']"),
        ([LINE | {"bytes_inbound": 19}], "its line has 19 bytes inbound, and 20 to 20 were seen"),
        ([LINE | {"frames_outbound": 1}], "its line has 1 frames outbound, and 0 to 0 were seen"),
        ([ENDED | {"ended_by": "client", "cause": "closed"}], "its line has None bytes inbound"),
        ([LOST | MOVED], "its line has 20 bytes inbound"),
        ([LINE, {"event": "internal error", "what": "a reload"}], "in the log"),
        ([LINE, {"text": "Fatal Python error"}], "in the log"),
        ([LINE, {"event": "a process died", "pid": 4711}], "nobody had killed it"),
    ],
)
def test_what_the_log_should_not_say_is_found(
    chronicle: Chronicle, lines: list[dict[str, Any]], said: str
) -> None:
    assert said in findings(chronicle, *lines)[0]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"heard": None}, "the browser should have heard"),
        ({"heard": Said(1000, "another word")}, "the browser should have heard"),
        ({"upstream_heard": Said(1001, "The browser is gone")}, "the upstream should have heard"),
        ({"status": 404}, "it was refused"),
        ({"missed": 2}, "2 replies did not come"),
        ({"route": "never"}, "its route was not there"),
    ],
)
def test_what_a_peer_should_not_see_is_found(chronicle: Chronicle, wrong: dict[str, Any], said: str) -> None:
    vars(chronicle.stories[NUMBER]).update(wrong)
    assert said in findings(chronicle, LINE)[0]


def test_a_browser_that_reads_nothing_for_too_long_may_not_hear_a_close(chronicle: Chronicle) -> None:
    story = chronicle.stories[NUMBER]
    story.heard, story.deaf = None, 3.0
    assert "the browser should have heard" in findings(chronicle, LINE)[0]
    story.deaf = 6.0
    assert findings(chronicle, LINE) == []


def test_only_sessions_of_the_forwarder_that_was_killed_may_be_lost(chronicle: Chronicle) -> None:
    story = chronicle.stories[NUMBER]
    story.did, story.heard, story.upstream_heard = set(), None, None
    death = chronicle.did("forwarder killed")
    death.began, death.over, death.child = 108.9, 109.0, "forwarder-0"
    assert "permitted are []" in findings(chronicle, LOST)[0]
    assert "permitted are []" in findings(chronicle, LOST, has_tls=True)[0]
    story.doomed_by, death.child = death, "forwarder-1"
    assert findings(chronicle, LOST) == findings(chronicle, LOST, has_tls=True) == []


def test_one_that_was_lost_long_after_its_end_has_no_line_if_no_gateway_was_there(
    chronicle: Chronicle,
) -> None:
    story = chronicle.stories[NUMBER]
    story.did, story.heard, story.upstream_heard = {End.CLIENT_ABORTED}, None, None
    death, hang = chronicle.did("forwarder hangs"), chronicle.did("gateway hangs")
    death.began, death.over, death.healed = 113.0, 122.0, 127.0
    story.doomed_by = death
    assert "it has no line" in findings(chronicle)[0]
    hang.began, hang.over, hang.healed = 121.0, 127.0, 127.5
    assert findings(chronicle) == []


def test_a_session_may_be_lost_at_the_very_moment_of_its_end_and_not_before(chronicle: Chronicle) -> None:
    death = chronicle.did("forwarder killed")
    death.began, death.over, death.child = 108.9, 109.0, "forwarder-1"
    assert findings(chronicle, LOST) == []
    story = chronicle.stories[NUMBER]
    story.did, story.heard, story.upstream_heard = (
        {End.CLIENT_ABORTED},
        None,
        Said(1001, "The browser is gone"),
    )
    assert findings(chronicle, LOST) == []
    death.began, death.over = 105.0, 105.1
    assert "permitted are ['CLIENT_ABORTED']" in findings(chronicle, LOST)[0]


def test_a_gateways_death_cuts_sessions_with_tls_and_no_other(chronicle: Chronicle) -> None:
    story = chronicle.stories[NUMBER]
    story.did, story.heard, story.upstream_heard = set(), None, None
    death = chronicle.did("gateway killed")
    death.began, death.over = 108.9, 109.0
    cut = LINE | {"cause": "aborted"}
    assert findings(chronicle, cut, has_tls=True) == []
    assert "permitted are []" in findings(chronicle, cut)[0]


def test_a_gateway_that_died_long_before_has_cut_nothing(chronicle: Chronicle) -> None:
    story = chronicle.stories[NUMBER]
    story.did, story.heard, story.upstream_heard = set(), None, None
    story.began = story.opened_at = 90.0
    death = chronicle.did("gateway killed")
    death.began, death.over = 98.0, 98.5
    assert "permitted are []" in findings(chronicle, LINE | {"cause": "aborted"}, has_tls=True)[0]


def test_a_former_gateways_time_being_up_cuts_sessions_with_tls_until_it_has_left(
    chronicle: Chronicle,
) -> None:
    story = chronicle.stories[NUMBER]
    story.did, story.heard, story.upstream_heard = set(), None, None
    story.began = story.opened_at = 90.0
    reload = chronicle.did("reload that cuts")
    reload.began, reload.over, reload.healed = 97.0, 97.2, 98.5
    cut = LINE | {"cause": "aborted"}
    assert "permitted are []" in findings(chronicle, cut, has_tls=True)[0]
    reload.healed = 99.5
    assert findings(chronicle, cut, has_tls=True) == []
    assert "permitted are []" in findings(chronicle, cut)[0]


def test_a_refusal_below_the_cap_is_found(chronicle: Chronicle) -> None:
    for number in range(10, 15):
        chronicle.stories[number] = Story(number, "always", 100.0, 100.0, 109.0, heard=FULL)
    refused = [finding for finding in findings(chronicle, LINE) if "refused for no reason" in finding]
    assert len(refused) == 5
    chronicle.states["cap"] = [(0.0, {1})]
    assert findings(chronicle, LINE) == []


def test_a_place_is_given_back_late_only_by_who_stands_still(chronicle: Chronicle) -> None:
    chronicle.states["cap"] = [(0.0, {1})]
    chronicle.stories[10] = Story(10, "always", 111.0, 111.0, 112.0, heard=FULL)
    assert "refused for no reason" in findings(chronicle, LINE)[0]
    stop = chronicle.did("forwarder stopped")
    stop.began, stop.over, stop.healed = 105.0, 108.5, 108.5
    assert "refused for no reason" in findings(chronicle, LINE)[0]
    stop.over = stop.healed = 110.5
    assert findings(chronicle, LINE) == []


def test_one_that_is_refused_later_may_have_had_a_place(chronicle: Chronicle) -> None:
    chronicle.states["cap"] = [(0.0, {2})]
    chronicle.stories[10] = Story(10, "always", 105.0, 105.0, 106.0, heard=FULL)
    chronicle.stories[11] = Story(11, "always", 105.0, 105.0, 106.0, heard=DOWN)
    assert "session 10: it was refused for no reason" not in "".join(findings(chronicle, LINE))
    chronicle.stories[11] = Story(11, "always", 105.0, 105.0, 106.0, status=404)
    assert "session 10: it was refused for no reason" in "".join(findings(chronicle, LINE))


def test_what_was_sent_and_did_not_arrive_may_be_counted_or_not(chronicle: Chronicle) -> None:
    chronicle.stories[NUMBER].sent[Direction.INBOUND].update({CONTINUATION: 1, PAYLOAD: 10})
    for more in (0, 1):
        line = LINE | {"bytes_inbound": 20 + 10 * more, "frames_inbound": 2 + more}
        assert findings(chronicle, line) == []


def test_a_gateway_may_be_killed_once_for_a_successor_that_died(chronicle: Chronicle) -> None:
    died = {"event": "a process died", "child": "gateway", "pid": 4711}
    failed = {"event": "configuration not reloaded", "problem": "the gateway that was to use it ended with X"}
    assert findings(chronicle, LINE, failed, died) == []
    assert len(findings(chronicle, LINE, failed, died, died)) == 1
    assert len(findings(chronicle, LINE, failed, died | {"child": "forwarder-0"})) == 1


def test_a_message_of_which_a_byte_is_another_is_found() -> None:
    right = Message(NUMBER, 3, 0, 0, 500).encoded()
    assert Message.decoded(right) == (NUMBER, 3, 0, 0, 500)
    assert Message.decoded(right[:-1] + bytes([right[-1] ^ 1])) is None


def test_a_counter_that_goes_back_is_found_and_a_gauge_may() -> None:
    before = read_series('bascule_frames_total{opcode="text"} 4\nws_connection_in_flight_count 4')
    after = read_series('bascule_frames_total{opcode="text"} 3\nws_connection_in_flight_count 3')
    assert gone_back(before, after) == ['bascule_frames_total{opcode="text"} went from 4 to 3']


@pytest.mark.parametrize(("now", "more"), [((14, 16 << 20), False), ((15, 0), True), ((0, 17 << 20), True)])
def test_what_is_held_beyond_the_slack_is_found(now: tuple[int, int], more: bool) -> None:
    assert exceeds({"gateway": now}, {"gateway": (10, 0)}) is more
