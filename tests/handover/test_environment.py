"""What a child is told survives the way through a descriptor, and nothing of it shows in ``ps``."""

from __future__ import annotations

import errno
import os
import sys

import pytest

from bascule.handover import environment
from bascule.handover.environment import OTHER_VERSION, ChildSetup


def test_a_child_reads_what_the_supervisor_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = ChildSetup(
        "{}",
        {"listen": "file"},
        3,
        4,
        2,
        -1,
        public=5,
        admin=6,
        place=7,
        draining=3.5,
        forwarder_restarts=[2, 0],
    )
    descriptor = setup.write()
    monkeypatch.setattr(sys, "argv", ["child", str(descriptor)])
    assert ChildSetup.read() == setup


def test_the_descriptor_is_closed_once_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(os.listdir("/proc/self/fd"))
    descriptor = ChildSetup("{}", {}, 3, 4, 1, 0).write()
    monkeypatch.setattr(sys, "argv", ["child", str(descriptor)])
    ChildSetup.read()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_child_of_another_version_leaves_with_a_status_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    descriptor = ChildSetup("{}", {}, 3, 4, 1, 0).write()
    monkeypatch.setattr(sys, "argv", ["child", str(descriptor)])
    monkeypatch.setattr(environment, "__version__", "0.0.0")
    with pytest.raises(SystemExit) as left:
        ChildSetup.read()
    assert left.value.code == OTHER_VERSION


def test_a_text_that_does_not_fit_leaves_no_descriptor_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOMEM, "no memory")

    before = os.listdir("/proc/self/fd")
    with monkeypatch.context() as short:
        short.setattr(os, "write", no_memory)
        with pytest.raises(OSError, match="no memory"):
            ChildSetup("{}", {}, 3, 4, 1, 0).write()
    assert os.listdir("/proc/self/fd") == before
