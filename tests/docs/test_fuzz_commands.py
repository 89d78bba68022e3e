"""The commands of fuzz/README.md: each target for a second, and one until it is stopped."""

import signal
import sys
from pathlib import Path

import pytest

from tests.docs.claims import claimed
from tests.support.processes import Service
from tests.support.terminal import Terminal

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        sys.version_info >= (3, 13), reason="atheris is for Python 3.11 and 3.12, as the page says"
    ),
]

ALL, ONE = claimed(__name__)


def test_every_target_is_fuzzed_and_one_until_it_is_stopped(terminal: Terminal, project: Path) -> None:
    terminal.run("export FUZZ_SECONDS=1")
    said = terminal.run(ALL.text, seconds=250)
    assert said.count("INITED") == len(list((project / "fuzz/corpus").iterdir()))

    one = Service("fuzzer", ["bash", "-c", f"exec {ONE.text}"], project / "fuzzer.log", cwd=project)
    try:
        one.wait_until(lambda: "INITED" in one.said(), 60)
        one.process.send_signal(signal.SIGINT)
        one.process.wait(20)
        assert "Traceback" not in one.said()
    finally:
        one.stop()
