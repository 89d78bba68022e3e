"""What is measured goes before other programs, and afterwards all is as it was."""

import os
import subprocess
from pathlib import Path

from bench import processors


def test_the_session_goes_ahead_for_a_while(tmp_path: Path) -> None:
    """As the kernel writes it, and as it wants it written."""
    setting = tmp_path / "autogroup"
    setting.write_text("/autogroup-42 nice 3\n")
    with processors.ahead(setting):
        assert setting.read_text() == "-10"
    assert setting.read_text() == "3"


def test_a_kernel_without_groups_is_left_alone(tmp_path: Path) -> None:
    """There is nothing to write to."""
    with processors.ahead(tmp_path / "autogroup"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_load_generators_are_beside_the_proxy_for_a_while() -> None:
    """Also one that has ended meanwhile is no reason to leave the others there."""
    theirs = processors.other_processors()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, preexec_fn=processors.pin(theirs)) as one:
        with (
            subprocess.Popen(["cat"], stdin=subprocess.PIPE) as ended,
            processors.together([ended.pid, one.pid]),
        ):
            assert os.sched_getaffinity(one.pid) == processors.proxy_processors()
            ended.communicate()
        assert os.sched_getaffinity(one.pid) == theirs


def test_processors_that_are_kept_awake_have_something_to_do_that_gives_way() -> None:
    """One process each, in the same session, of the class that any other process goes before."""
    with processors.awake() as turning:
        assert [os.sched_getaffinity(pid) for pid in turning] == [{cpu} for cpu in processors.ALLOWED]
        assert {os.sched_getscheduler(pid) for pid in turning} == {os.SCHED_IDLE}
        assert {os.getsid(pid) for pid in turning} == {os.getsid(0)}
    assert not any(Path(f"/proc/{pid}").exists() for pid in turning)
