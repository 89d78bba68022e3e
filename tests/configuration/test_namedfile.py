"""A file that a key names is a regular one of bounded size, and nothing else is waited for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bascule.configuration.namedfile import MOST_BYTES, check_file, read_file

DEVICE = Path("/dev/zero")
GROWING = Path("/proc/self/smaps")
"""The kernel does not tell the sizes of such files."""


def refused(path: Path) -> set[str | None]:
    """Return what both functions say of a file that is not allowed."""
    said = set()
    for function in (check_file, read_file):
        try:
            function(path)
        except OSError as error:
            said.add(error.strerror)
        else:
            said.add(None)
    return said


def test_a_regular_file_is_read_up_to_the_limit(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(b"x" * MOST_BYTES)
    check_file(file)
    assert len(read_file(file)) == MOST_BYTES
    link = tmp_path / "link"  # as Kubernetes mounts a Secret
    link.symlink_to(file)
    assert len(read_file(link)) == MOST_BYTES


def test_a_larger_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.touch()
    os.truncate(file, MOST_BYTES + 1)
    assert refused(file) == {"File too large"}


def test_one_whose_size_nobody_tells_is_refused_when_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    check_file(GROWING)
    monkeypatch.setattr("bascule.configuration.namedfile.MOST_BYTES", 100)
    with pytest.raises(OSError, match="too large"):
        read_file(GROWING)


def test_what_could_be_read_once_or_for_ever_is_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert refused(pipe) == {"Not a regular file"}
    assert refused(DEVICE) == {"Not a regular file"}
    assert refused(tmp_path) == {"Is a directory"}
    assert refused(tmp_path / "missing") == {"No such file or directory"}
