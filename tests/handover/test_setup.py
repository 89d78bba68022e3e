"""What a forwarder is told survives the way through a descriptor, and nothing of it shows in ``ps``."""

from __future__ import annotations

import errno
import os
import sys

import pytest

from bascule.handover import setup as module
from bascule.handover.setup import OTHER_VERSION, ForwarderSetup
from tests.support.descriptors import open_descriptors

FORWARDER = ForwarderSetup(
    3, 4, 1, slot=0, read_buffer_bytes=65536, heartbeat_ms=20000, pong=60.0, idle_ms=10**400, closing=10.5
)  # fmt: skip


def test_a_forwarder_reads_what_the_supervisor_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    descriptor = FORWARDER.write()
    monkeypatch.setattr(sys, "argv", ["child", str(descriptor)])
    assert ForwarderSetup.read() == FORWARDER


def test_a_forwarder_inherits_the_descriptors_that_it_is_told_of() -> None:
    assert FORWARDER.descriptors == (3, 4)


def test_the_descriptor_is_closed_once_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_descriptors()
    descriptor = FORWARDER.write()
    monkeypatch.setattr(sys, "argv", ["child", str(descriptor)])
    ForwarderSetup.read()
    assert open_descriptors() == before


def test_a_child_of_another_version_leaves_with_a_status_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    descriptor = FORWARDER.write()
    monkeypatch.setattr(sys, "argv", ["child", str(descriptor)])
    monkeypatch.setattr(module, "__version__", "0.0.0")
    with pytest.raises(SystemExit) as left:
        ForwarderSetup.read()
    assert left.value.code == OTHER_VERSION


def test_a_text_that_does_not_fit_leaves_no_descriptor_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOMEM, "no memory")

    before = os.listdir("/proc/self/fd")
    with monkeypatch.context() as short:
        short.setattr(os, "write", no_memory)
        with pytest.raises(OSError, match="no memory"):
            FORWARDER.write()
    assert os.listdir("/proc/self/fd") == before
