"""The cap's worth of idle sessions holds with heartbeats on: the short form of ``scripts/soak.py``.

The long one, 5,000 sessions for two minutes, is a command of its own.
"""

import json
import subprocess
import sys

import pytest

from tests.support.parts import ROOT

pytestmark = [pytest.mark.real, pytest.mark.slow]

CAP = 500
MOST_BYTES = 2048


def test_500_idle_sessions_hold_with_heartbeats_and_cost_2_kib_each_at_most() -> None:
    command = [sys.executable, "scripts/soak.py", f"--sessions={CAP}", "--seconds=10", "--heartbeat-ms=1000"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)

    assert done.stdout, done.stderr
    figures = json.loads(done.stdout)
    print(done.stdout)
    assert figures["dropped"] == 0
    assert figures["in_flight_at_the_end"] == CAP
    assert figures["heartbeats_least"] >= figures["heartbeats_expected"]
    assert figures["forwarder_bytes_per_session"] <= MOST_BYTES
    assert done.returncode == 0
