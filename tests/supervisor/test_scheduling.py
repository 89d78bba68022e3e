"""What the kernel was asked for is what it has noted."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bascule.supervisor import scheduling
from tests.support.proctree import forwarders, gateway

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Start

GETATTR = {"x86_64": 315, "aarch64": 275}
"""Number of sched_getattr(2)."""
OURS = os.getpriority(os.PRIO_PROCESS, 0)


@pytest.fixture
def pid() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid


def check(pid: int, policy: int, nice: int) -> None:
    """Compare with what the kernel has noted; slices of a process's own it knows since Linux 6.12."""
    assert os.sched_getscheduler(pid) == policy
    assert os.getpriority(os.PRIO_PROCESS, pid) == nice
    release = tuple(map(int, platform.release().split(".")[:2]))
    if platform.machine() in GETATTR and release >= (6, 12):
        buffer = ctypes.create_string_buffer(48)
        assert ctypes.CDLL(None).syscall(GETATTR[platform.machine()], pid, buffer, 48, 0) == 0
        assert struct.unpack("=IIQiIQQQ", buffer.raw)[5] == scheduling.SLICE


def test_the_gateway_has_short_turns_and_the_least_share(pid: int) -> None:
    scheduling.stand_back(pid)
    check(pid, os.SCHED_BATCH, 19)


def test_a_machine_without_the_call_still_gets_the_priorities(
    pid: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "unheard-of")
    scheduling.stand_back(pid)
    assert os.sched_getscheduler(pid) == os.SCHED_BATCH
    assert os.getpriority(os.PRIO_PROCESS, pid) == 19


def test_a_process_that_is_gone_is_nobodys_fault() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    scheduling.stand_back(process.pid)


def test_each_process_of_a_running_proxy_has_its_own(bascule: Start) -> None:
    proxy = bascule({"routes": [{"name": "r", "path": "/", "upstream": "http://127.0.0.1:1"}]})
    assert os.getpriority(os.PRIO_PROCESS, gateway(proxy)) == 19
    assert {os.getpriority(os.PRIO_PROCESS, pid) for pid in forwarders(proxy)} == {OURS}
