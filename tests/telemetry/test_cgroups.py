"""Which control groups we are in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bascule.telemetry.cgroups import Group, groups

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("0::/\n", [(2, "")]),
        ("0::/pods/ours\n", [(2, ""), (2, "pods"), (2, "pods/ours")]),
        ("4:memory:/a\n2:cpu,cpuacct:/a/b:c\n", [(1, "cpu"), (1, "cpu/a"), (1, "cpu/a/b:c")]),
        ("4:memory:/a\n", []),
    ],
)
def test_a_group_and_all_above_it_are_named(
    tmp_path: Path, said: str, expected: list[tuple[int, str]]
) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(said)
    mounted = tmp_path / "sys/fs/cgroup"
    assert list(groups("cpu", tmp_path)) == [Group(version, mounted / name) for version, name in expected]


def test_a_group_may_have_any_name(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_bytes(b"0::/\xff\n")
    assert len(list(groups("cpu", tmp_path))) == 2


def test_without_control_groups_there_is_none(tmp_path: Path) -> None:
    assert list(groups("cpu", tmp_path)) == []


def test_a_file_that_a_group_does_not_have_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("max 100000\n")
    group = Group(2, tmp_path)
    assert group.words("cpu.max") == ["max", "100000"]
    assert group.words("memory.max") == []
