"""The limit of open files is raised as far as it goes, and looked at."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bascule.handover.descriptors import DESCRIPTORS_PER_SESSION, SPARE_DESCRIPTORS

PROGRAM = """\
import resource
from bascule.errors import ConfigError
from bascule.supervisor import openfiles
from bascule.telemetry.logs import configure
configure("info", "json", process="test")
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
try:
    openfiles.prepare({cap}, {forwarders})
except ConfigError as error:
    print(error)
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def prepared(soft: int, hard: int, cap: int, forwarders: int) -> tuple[list[str], str]:
    """Return what is said, and logged, in a process with these limits."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(soft=soft, hard=hard, cap=cap, forwarders=forwarders)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines(), done.stderr


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    assert prepared(64, 900, 100, 1) == (["900"], "")


@pytest.mark.parametrize("forwarders", [1, 3])
def test_a_cap_that_fits_exactly_is_no_warning_and_one_more_is(forwarders: int) -> None:
    hard = SPARE_DESCRIPTORS + 100 * DESCRIPTORS_PER_SESSION
    assert prepared(hard, hard, 100 * forwarders, forwarders)[1] == ""
    warned = prepared(hard, hard, 100 * forwarders + 1, forwarders)[1]
    assert "the open-file limit is too low for maxSessionsPerApp" in warned
    assert f'"sessions_that_fit":{100 * forwarders}' in warned


def test_a_limit_that_fits_not_one_session_is_an_error() -> None:
    least = SPARE_DESCRIPTORS + DESCRIPTORS_PER_SESSION
    limit = least - 1
    said, _ = prepared(limit, limit, 1, 1)
    why = f"the open-file limit (ulimit -n): found {limit}; allowed: at least {least}"
    assert said == [why, str(limit)]
