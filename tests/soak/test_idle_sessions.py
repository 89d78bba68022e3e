"""The cap's worth of idle sessions holds with heartbeats on: the short form of ``make soak``.

The long one, 5,000 sessions for two minutes, is the same command without ``SOAK``.
"""

import json
from pathlib import Path

import pytest

from tests.docs.claims import claimed
from tests.support.checkout import check_out
from tests.support.terminal import open_terminal

pytestmark = pytest.mark.real

CAP = 500
MOST_BYTES = 2048
(SOAK,) = claimed(__name__)


def test_500_idle_sessions_hold_with_heartbeats_and_cost_2_kib_each_at_most(tmp_path: Path) -> None:
    with open_terminal(tmp_path, at=check_out(tmp_path)) as terminal:
        terminal.run(f"export SOAK='--sessions {CAP} --seconds 10 --heartbeat-ms 1000'")
        done = terminal.type(SOAK.text, seconds=100)

    figures = json.loads(done.text)
    print(done.text)
    assert figures["dropped"] == 0
    assert figures["in_flight_at_the_end"] == CAP
    assert figures["heartbeats_least"] >= figures["heartbeats_expected"]
    assert figures["forwarder_bytes_per_session"] <= MOST_BYTES
    assert done.status == 0
