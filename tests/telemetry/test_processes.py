"""Reading /proc and the cgroup limits, from the kernel and from made-up trees."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from bascule.telemetry.processes import Descriptors, Processes
from bascule.telemetry.spare import Spare
from tests.support.fewdescriptors import no_descriptors_left

PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = 1 / os.sysconf("SC_CLK_TCK")
GIB = 1 << 30
LIMITS = """\
Limit                     Soft Limit           Hard Limit           Units
Max processes             31000                31000                processes
Max open files            1024                 1048576              files
"""
STAT = "7 (odd ) (name) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0"


class Tree:
    """A made-up root directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("proc/meminfo", "MemFree: 1 kB\nMemTotal:       8388608 kB\n")

    def write(self, path: str, text: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


@pytest.fixture
def processes(tree: Tree) -> Processes:
    return Processes(tree.root)


def test_this_process_can_be_read() -> None:
    reading = Processes().read(os.getpid())

    assert reading is not None
    assert reading.cpu_seconds > 0.0
    assert reading.wait_seconds >= 0.0
    assert reading.resident_bytes > 1 << 20


def test_a_process_that_is_gone_reads_as_nothing() -> None:
    gone = 2**22 + 1  # above the largest process id of Linux
    assert Processes().read(gone) is None
    assert Processes().resident_bytes(gone) is None
    assert Processes().descriptors(gone) is None


@pytest.mark.parametrize(("state", "is_ready"), [("R", True), ("S", False), ("T", False), ("D", False)])
def test_who_has_a_core_or_waits_for_one_is_ready(
    tree: Tree, processes: Processes, state: str, is_ready: bool
) -> None:
    tree.write("proc/7/stat", f"7 (a R) b) {state} 1 7 7 0 -1\n")
    assert processes.is_ready(7) is is_ready
    assert not processes.is_ready(8)


def test_scheduler_statistics_are_nanoseconds_run_and_waited(tree: Tree, processes: Processes) -> None:
    tree.write("proc/7/statm", "900 250 1 1 0 1 0\n")
    tree.write("proc/7/schedstat", "1500000000 250000000 42\n")

    assert processes.read(7) == (1.5, 0.25, 250 * PAGE)


@pytest.mark.parametrize("schedstat", [None, "0 0 0\n", "garbage\n"])
def test_without_scheduler_statistics_the_clock_ticks_serve(
    tree: Tree, processes: Processes, schedstat: str | None
) -> None:
    tree.write("proc/7/statm", "900 250 1 1 0 1 0\n")
    tree.write("proc/7/stat", STAT)
    if schedstat is not None:
        tree.write("proc/7/schedstat", schedstat)

    assert processes.read(7) == (300 * TICK, 0.0, 250 * PAGE)


def test_a_process_that_ends_between_two_files_reads_as_nothing(tree: Tree, processes: Processes) -> None:
    tree.write("proc/7/statm", "900 250 1 1 0 1 0\n")
    assert processes.read(7) is None


def test_memory_of_several_processes_adds_up_without_those_that_are_gone(
    tree: Tree, processes: Processes
) -> None:
    tree.write("proc/7/statm", "900 250 1 1 0 1 0\n")
    tree.write("proc/8/statm", "900 50 1 1 0 1 0\n")
    tree.write("proc/9/statm", "")

    assert processes.memory_used([7, 8, 9, 10]) == 300 * PAGE


def test_memory_that_processes_share_is_counted_once(tree: Tree, processes: Processes) -> None:
    for pid in (7, 8):
        tree.write(f"proc/{pid}/statm", "900 250 1 1 0 1 0\n")
        tree.write(
            f"proc/{pid}/smaps_rollup", "00400000-7fff [rollup]\nRss: 1000 kB\nPss:  600 kB\nPss_Anon: 1 kB\n"
        )

    assert processes.memory_used([7, 8]) == 1200 * 1024


def test_the_limit_of_this_machine_is_believable() -> None:
    assert 1 << 26 < Processes().memory_limit() < 1 << 50


def test_without_cgroups_the_limit_is_all_memory(processes: Processes) -> None:
    assert processes.memory_limit() == 8 * GIB


def test_without_memory_information_there_is_an_error(tree: Tree, processes: Processes) -> None:
    tree.write("proc/meminfo", "MemFree: 1 kB\n")
    with pytest.raises(OSError, match="MemTotal"):
        processes.memory_limit()


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"": "max"}, 8 * GIB),
        ({"": str(2 * GIB)}, 2 * GIB),
        ({"pods/ours": str(GIB)}, GIB),
        ({"pods/ours": str(3 * GIB), "pods": str(2 * GIB), "": "max"}, 2 * GIB),
        ({"pods/ours": str(100 * GIB)}, 8 * GIB),
    ],
)
def test_the_smallest_limit_above_us_binds_in_cgroup_version_2(
    tree: Tree, processes: Processes, limits: dict[str, str], expected: int
) -> None:
    tree.write("proc/self/cgroup", "0::/pods/ours\n")
    for group, text in limits.items():
        tree.write(f"sys/fs/cgroup/{group}/memory.max", f"{text}\n")

    assert processes.memory_limit() == expected


def test_the_smallest_limit_above_us_binds_in_cgroup_version_1(tree: Tree, processes: Processes) -> None:
    tree.write("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/\n")
    tree.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    tree.write("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", f"{GIB}\n")

    assert processes.memory_limit() == GIB


def test_our_open_descriptors_and_their_limit_are_the_kernels() -> None:
    processes = Processes()
    before = processes.descriptors(os.getpid())
    extra = [os.open("/dev/null", os.O_RDONLY) for _ in range(10)]
    after = processes.descriptors(os.getpid())
    for descriptor in extra:
        os.close(descriptor)

    assert before is not None
    assert after is not None
    assert after.open - before.open == 10
    assert after.limit == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_descriptors_are_counted_one_by_one_where_their_folder_has_no_size(
    tree: Tree, processes: Processes
) -> None:
    tree.write("proc/7/limits", LIMITS)
    folder = Path("/proc/self/ns")  # of no size, as folders of descriptors were before Linux 6.2
    (tree.root / "proc/7/fd").symlink_to(folder)

    assert processes.descriptors(7) == Descriptors(len(list(folder.iterdir())), 1024)


def test_the_process_nearest_to_its_limit_is_shown(tree: Tree, processes: Processes) -> None:
    for pid, count in ((7, 3), (8, 5)):
        tree.write(f"proc/{pid}/limits", LIMITS)
        for number in range(count):
            tree.write(f"proc/{pid}/fd/{number}", "")

    # On a file system that gives directories a size of their own the count is that size.
    assert processes.tightest_descriptors([7, 8, 9]).limit == 1024
    assert processes.tightest_descriptors([]) == Descriptors(0, 0)


@pytest.mark.parametrize(
    "limits", ["", LIMITS.replace("1024 ", "unlimited"), "Max processes 1 1 processes\n"]
)
def test_descriptors_without_a_limit_are_not_shown(tree: Tree, processes: Processes, limits: str) -> None:
    tree.write("proc/7/limits", limits)
    tree.write("proc/7/fd/0", "")
    assert processes.descriptors(7) is None


def test_the_children_of_a_name_are_found(tree: Tree, processes: Processes) -> None:
    tree.write("proc/7/task/7/children", "8 9 10 11 ")
    tree.write("proc/8/comm", "bascule-gateway\n")
    tree.write("proc/9/comm", "python3\n")
    tree.write("proc/10/comm", "bascule-gateways\n")

    assert processes.children(7, "bascule-gateway") == [8]
    assert processes.children(8, "bascule-gateway") == [], "a kernel that does not list them"


def test_processes_are_read_when_no_descriptor_is_left() -> None:
    processes = Processes(spare=Spare())
    pid = os.getpid()
    total = processes.memory_limit()

    with no_descriptors_left():
        found = processes.descriptors(pid)
        limit = processes.memory_limit()
        reading = processes.read(pid)
        used = processes.memory_used([pid])

    assert found is not None
    assert found.limit == found.open
    assert limit == total
    assert reading is not None
    assert used > 1 << 20
