"""What a child is told survives the way through a descriptor, and nothing of it shows in ``ps``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from bascule.handover.environment import ChildSetup

if TYPE_CHECKING:
    import pytest


def test_a_child_reads_what_the_supervisor_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = ChildSetup("{}", {"listen": "file"}, 3, 4, 2, 1, 5, 6, 7, True)
    descriptor = setup.write()
    monkeypatch.setattr(sys, "argv", ["child", str(descriptor)])
    assert ChildSetup.read() == setup


def test_the_descriptor_is_closed_once_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(os.listdir("/proc/self/fd"))
    descriptor = ChildSetup("{}", {}, 3, 4, 1, 0).write()
    monkeypatch.setattr(sys, "argv", ["child", str(descriptor)])
    ChildSetup.read()
    assert len(os.listdir("/proc/self/fd")) == before
