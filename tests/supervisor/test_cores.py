"""How many cores a container has."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from bascule.supervisor.cores import available

if TYPE_CHECKING:
    from pathlib import Path

ALLOWED = len(os.sched_getaffinity(0))


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
    (tmp_path / "cpu.max").write_text(text)
    assert available(tmp_path) == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", ALLOWED), ("50000", 1), ("", ALLOWED)])
def test_a_quota_of_version_1_bounds_the_cores(tmp_path: Path, quota: str, cores: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000")
    assert available(tmp_path) == cores


def test_without_control_groups_the_scheduler_decides(tmp_path: Path) -> None:
    assert available(tmp_path / "none") == ALLOWED
