"""What processes have used is noted for the whole life of their place, whoever dies."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from bascule.handover.counters import CounterFile, ForwarderWord, GatewayWord
from bascule.supervisor.forwarderchild import ForwarderChild
from bascule.supervisor.gatewaychild import GatewayChild
from bascule.supervisor.usage import Usage
from bascule.telemetry.load import ProcessReading
from bascule.telemetry.processes import Processes

if TYPE_CHECKING:
    from collections.abc import Callable

    from bascule.supervisor.child import Child


class Process:
    def __init__(self, pid: int) -> None:
        self.pid = pid


class Rig:
    """Children that are not there, and what the kernel would say of them."""

    def __init__(self) -> None:
        self.counters = CounterFile.create(2)
        self.readings: dict[int, ProcessReading] = {}
        self.ready: set[int] = set()
        self.now = 100.0
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.usage = Usage(
            self.counters,
            self,
            lambda seconds, action: self.later.append((seconds, action)),
            lambda: self.now,
        )
        self.usage.run()

    def start(self, child: Child, pid: int) -> None:
        child.process = Process(pid)  # type: ignore[assignment]
        self.usage.started(child)

    def read(self, pid: int) -> ProcessReading | None:
        return self.readings.get(pid)

    def is_ready(self, pid: int) -> bool:
        return pid in self.ready

    def uses(self, pid: int, cpu: float, wait: float) -> None:
        self.readings[pid] = ProcessReading(cpu, wait, 4096)

    def look(self) -> None:
        """Let the next second come."""
        ((seconds, action),) = self.later
        assert seconds == 1.0
        self.later.clear()
        self.now += seconds
        action()

    def forwarder(self, slot: int) -> tuple[int, int]:
        words = self.counters.forwarder(slot)
        return words[ForwarderWord.CPU_NANOSECONDS], words[ForwarderWord.WAIT_NANOSECONDS]

    def gateway(self, place: int) -> tuple[int, int]:
        words = self.counters.gateway(place)
        return words[GatewayWord.CPU_NANOSECONDS], words[GatewayWord.WAIT_NANOSECONDS]


def test_each_process_is_noted_in_its_own_block_every_second() -> None:
    rig = Rig()
    rig.start(ForwarderChild(1), 10)
    rig.start(GatewayChild(3), 20)
    rig.uses(10, 1.5, 0.25)
    rig.uses(20, 2.0, 0.5)
    rig.look()
    rig.uses(20, 3.0, 0.75)
    rig.look()

    assert rig.forwarder(1) == (1_500_000_000, 250_000_000)
    assert rig.gateway(3) == (3_000_000_000, 750_000_000)
    assert (rig.forwarder(0), rig.gateway(0)) == ((0, 0), (0, 0))


def test_the_next_process_counts_on_from_the_last_reading_of_the_one_that_died() -> None:
    rig, child = Rig(), ForwarderChild(0)
    rig.start(child, 10)
    rig.uses(10, 1.0, 0.25)
    rig.look()
    rig.uses(10, 1.5, 0.5)
    rig.usage.has_died(child)
    rig.start(child, 11)
    rig.uses(11, 0.25, 0.125)
    rig.look()

    assert rig.forwarder(0) == (1_750_000_000, 625_000_000)


def test_a_gateway_in_the_place_of_another_counts_on() -> None:
    rig = Rig()
    for pid in (10, 11):
        child = GatewayChild(5)
        rig.start(child, pid)
        rig.uses(pid, 1.0, 0.5)
        rig.usage.has_died(child)
    assert rig.gateway(5) == (2_000_000_000, 1_000_000_000)


def test_what_cannot_be_read_or_falls_lowers_nothing() -> None:
    rig, child = Rig(), ForwarderChild(0)
    rig.start(child, 10)
    rig.uses(10, 1.0, 0.5)
    rig.look()
    rig.uses(10, 0.75, 0.0)
    rig.look()
    rig.readings.clear()
    rig.look()
    rig.usage.has_died(child)

    assert rig.forwarder(0) == (1_000_000_000, 500_000_000)


def test_a_process_that_was_killed_is_charged_all_that_it_used() -> None:
    """Against the kernel: a child that dies a moment after it has used a tenth of a second."""
    busy = "import os, time\nwhile time.process_time() < 0.1: pass\nos.kill(os.getpid(), 9)"
    counters, child = CounterFile.create(1), ForwarderChild(0)
    usage = Usage(counters, Processes(), lambda *_: None)
    child.process = subprocess.Popen([sys.executable, "-c", busy], stdout=subprocess.PIPE)
    usage.started(child)
    assert child.process.stdout is not None
    assert child.process.stdout.read() == b"", "it has ended, and nobody has taken its exit status"
    usage.has_died(child)
    child.process.stdout.close()
    assert child.process.wait(10) == -9

    assert 0.1e9 <= counters.forwarder(0)[ForwarderWord.CPU_NANOSECONDS] < 2e9


def test_a_wait_for_a_core_counts_while_it_lasts_and_once() -> None:
    rig = Rig()
    rig.start(ForwarderChild(0), 10)
    rig.ready.add(10)
    waited: list[int] = []
    # The kernel adds what it has waited when it has had a core: 3.5 s, and then 1.25.
    for cpu, wait in ((1.0, 0.5), (1.0, 0.5), (1.0, 0.5), (1.0, 0.5), (1.5, 4.0), (1.5, 4.0), (2.0, 5.25)):
        rig.uses(10, cpu, wait)
        rig.look()
        waited.append(rig.forwarder(0)[1])
    assert waited == [round(seconds * 1e9) for seconds in (0.5, 1.5, 2.5, 3.5, 4.0, 5.0, 5.25)]


def test_who_asks_for_no_core_does_not_wait_for_one() -> None:
    rig = Rig()
    rig.start(ForwarderChild(0), 10)
    rig.ready.add(10)
    for ready in (True, False, True, False):
        rig.ready = {10} if ready else set()
        rig.uses(10, 1.0, 0.5)
        rig.look()
    assert rig.forwarder(0)[1] == 500_000_000
