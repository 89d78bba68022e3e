"""How many cores a container has."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from bascule.supervisor.cores import available

if TYPE_CHECKING:
    from pathlib import Path

ALLOWED = len(os.sched_getaffinity(0))


def _write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("max 100000\n", ALLOWED),
        ("50000 100000\n", 1),
        ("150000 100000\n", min(2, ALLOWED)),
        ("6400000 100000\n", min(64, ALLOWED)),
        ("nonsense\n", ALLOWED),
        ("0 100000\n", ALLOWED),
        ("1 0\n", ALLOWED),
    ],
)
def test_a_quota_of_version_2_bounds_the_cores(tmp_path: Path, text: str, cores: int) -> None:
    _write(tmp_path, "proc/self/cgroup", "0::/\n")
    _write(tmp_path, "sys/fs/cgroup/cpu.max", text)
    assert available(tmp_path) == cores


def test_the_quota_of_a_service_and_of_those_above_it_bound_the_cores(tmp_path: Path) -> None:
    # As systemd's CPUQuota sets it: no namespace of its own, so our group is not the mount's root.
    _write(tmp_path, "proc/self/cgroup", "0::/system.slice/bascule.service\n")
    _write(tmp_path, "sys/fs/cgroup/system.slice/cpu.max", "max 100000\n")
    _write(tmp_path, "sys/fs/cgroup/system.slice/bascule.service/cpu.max", "100000 100000\n")
    assert available(tmp_path) == 1


@pytest.mark.parametrize(("quota", "cores"), [("-1", ALLOWED), ("50000", 1), ("", ALLOWED)])
def test_a_quota_of_version_1_bounds_the_cores(tmp_path: Path, quota: str, cores: int) -> None:
    _write(tmp_path, "proc/self/cgroup", "4:memory:/\n3:cpu,cpuacct:/docker/abc\n")
    _write(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", quota)
    _write(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000")
    assert available(tmp_path) == cores


def test_without_control_groups_the_scheduler_decides(tmp_path: Path) -> None:
    assert available(tmp_path / "none") == ALLOWED
