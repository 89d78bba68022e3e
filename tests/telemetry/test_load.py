"""CPU cores and allocation rate: windows, several scrapers, replaced forwarders."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.telemetry.load import LoadMeter, ProcessReading
from bascule.telemetry.processes import Processes
from tests.support.waiting import eventually

MIB = 1 << 20


class FakeMachine:
    """Processes whose readings a test sets."""

    def __init__(self) -> None:
        self.running: dict[int, ProcessReading] = {}

    def use(self, pid: int, cpu: float, resident: int = MIB) -> None:
        self.running[pid] = ProcessReading(cpu, 0.0, resident)

    def read(self, pid: int) -> ProcessReading | None:
        return self.running.get(pid)


@pytest.fixture
def machine() -> FakeMachine:
    return FakeMachine()


def test_nothing_is_in_use_before_there_are_two_readings(machine: FakeMachine) -> None:
    meter = LoadMeter(1, machine.read)
    machine.use(10, cpu=500.0)
    assert meter.cpu_cores(0.0) == 0.0
    assert meter.resident_bytes(0) == 0

    meter.tick(1.0, [10], 1_000_000)

    assert (meter.cpu_cores(1.0), meter.slot_cores(0, 1.0), meter.allocated_per_second(1.0)) == (
        0.0,
        0.0,
        0.0,
    )


def test_cores_are_run_time_over_wall_time_of_all_slots(machine: FakeMachine) -> None:
    meter = LoadMeter(2, machine.read)
    for second in range(5):
        machine.use(10, cpu=100.0 + 0.75 * second)
        machine.use(11, cpu=7.0 + 0.5 * second)
        meter.tick(1000.0 + second, [10, 11], 4096 * second)

    assert meter.cpu_cores(1004.0) == pytest.approx(1.25)
    assert meter.slot_cores(1, 1004.0) == pytest.approx(0.5)
    assert meter.allocated_per_second(1004.0) == pytest.approx(4096)
    assert len(meter) == 2


def test_the_window_forgets_what_is_older(machine: FakeMachine) -> None:
    meter = LoadMeter(1, machine.read, window=10.0)
    for second in range(60):
        machine.use(10, cpu=min(second, 30))
        meter.tick(second, [10], 0)

    assert meter.cpu_cores(59.0) == 0.0


def test_a_rate_covers_the_whole_window_when_ticks_come_late(machine: FakeMachine) -> None:
    meter = LoadMeter(1, machine.read, window=10.0)
    for now, cpu in ((0.0, 0.0), (1.0, 1.0), (16.0, 1.0), (17.0, 2.0)):
        machine.use(10, cpu=cpu)
        meter.tick(now, [10], 0)

    # The gateway was stopped from 1 to 16: the divisor is the time that really passed.
    assert meter.cpu_cores(17.0) == pytest.approx(1 / 16)


def test_scrapers_do_not_shorten_each_others_window(machine: FakeMachine) -> None:
    meter = LoadMeter(1, machine.read)
    for second in range(12):
        machine.use(10, cpu=second / 2)
        meter.tick(second, [10], 0)
        assert {meter.cpu_cores(second + part / 10) for part in range(10)} == {0.5 if second else 0.0}


def test_a_second_tick_at_the_same_time_is_ignored(machine: FakeMachine) -> None:
    meter = LoadMeter(1, machine.read)
    machine.use(10, cpu=0.5)
    meter.tick(3.0, [10], 0)
    machine.use(10, cpu=1.0)
    meter.tick(5.0, [10], 0)
    machine.use(10, cpu=2.0)
    meter.tick(5.0, [10], 0)
    meter.tick(4.0, [10], 0)

    assert meter.cpu_cores(5.0) == 0.25


def test_a_rate_from_long_ago_is_not_shown_as_the_present_one(machine: FakeMachine) -> None:
    meter = LoadMeter(1, machine.read)
    for second in range(3):
        machine.use(10, cpu=second)
        meter.tick(second, [10], second)

    assert meter.cpu_cores(12.0) == 1.0
    assert meter.cpu_cores(12.1) == 0.0
    assert meter.allocated_per_second(12.1) == 0.0


def test_a_replaced_forwarder_keeps_its_predecessors_consumption(machine: FakeMachine) -> None:
    meter = LoadMeter(1, machine.read)
    machine.use(10, cpu=100.0)
    meter.tick(0.0, [10], 0)
    machine.use(10, cpu=101.0)
    meter.tick(1.0, [10], 0)

    meter.tick(2.0, [None], 0)
    assert (meter.cpu_cores(2.0), meter.resident_bytes(0)) == (0.5, 0)
    machine.use(20, cpu=0.5, resident=2 * MIB)
    meter.tick(3.0, [20], 0)
    assert meter.cpu_cores(3.0) == pytest.approx(1.5 / 3)
    assert meter.resident_bytes(0) == 2 * MIB


def test_a_replacement_within_one_tick_is_seen(machine: FakeMachine) -> None:
    meter = LoadMeter(1, machine.read)
    machine.use(10, cpu=9.0)
    meter.tick(0.0, [10], 0)
    machine.use(11, cpu=10.0)
    meter.tick(1.0, [11], 0)

    assert meter.cpu_cores(1.0) == 10.0


def test_a_recycled_process_id_is_another_process(machine: FakeMachine) -> None:
    meter = LoadMeter(1, machine.read)
    machine.use(10, cpu=9.0)
    meter.tick(0.0, [10], 0)
    machine.use(10, cpu=0.5)
    meter.tick(1.0, [10], 0)

    assert meter.cpu_cores(1.0) == 0.5


def test_a_process_that_cannot_be_read_for_a_moment_counts_on(machine: FakeMachine) -> None:
    meter = LoadMeter(1, machine.read)
    machine.use(10, cpu=9.0)
    meter.tick(0.0, [10], 0)
    machine.running.clear()
    meter.tick(1.0, [10], 0)
    machine.use(10, cpu=9.5)
    meter.tick(2.0, [10], 0)

    assert meter.cpu_cores(2.0) == 0.25


def test_zero_is_no_process_id(machine: FakeMachine) -> None:
    meter = LoadMeter(1, machine.read)
    for second in range(2):
        machine.use(0, cpu=9.0 * second)
        meter.tick(second, [0], 0)
    assert (meter.cpu_cores(1.0), meter.resident_bytes(0)) == (0.0, 0)


def test_an_allocation_total_that_falls_shows_no_negative_rate(machine: FakeMachine) -> None:
    meter = LoadMeter(1, machine.read)
    meter.tick(0.0, [None], 500)
    meter.tick(1.0, [None], 0)
    assert meter.allocated_per_second(1.0) == 0.0


def test_every_slot_must_be_accounted_for(machine: FakeMachine) -> None:
    with pytest.raises(ValueError, match="shorter"):
        LoadMeter(2, machine.read).tick(0.0, [10], 0)


def test_another_process_goes_on_with_all_that_is_known(machine: FakeMachine) -> None:
    former, later = LoadMeter(2, machine.read), LoadMeter(2, machine.read)
    machine.use(10, cpu=100.0)
    machine.use(11, cpu=1.0)
    former.tick(0.0, [10, 11], 0)
    machine.use(20, cpu=2.0)
    former.tick(1.0, [20, 11], 4096)

    later.restore(json.loads(json.dumps(former.dump())))

    for meter in (former, later):
        assert meter.cpu_cores(1.0) == pytest.approx(2.0)
        assert meter.allocated_per_second(1.0) == 4096.0
    machine.use(20, cpu=2.5)
    machine.use(12, cpu=0.25)
    later.tick(2.0, [20, 12], 4096)
    assert later.slot_cores(0, 2.0) == pytest.approx(2.5 / 2)
    assert later.slot_cores(1, 2.0) == pytest.approx(0.25 / 2)


def test_what_was_measured_of_other_slots_is_no_use(machine: FakeMachine) -> None:
    former, later = LoadMeter(2, machine.read), LoadMeter(1, machine.read)
    machine.use(10, cpu=100.0)
    former.tick(0.0, [10, 10], 0)
    former.tick(1.0, [10, 10], 4096)
    later.restore(former.dump())
    assert (later.resident_bytes(0), later.allocated_per_second(1.0)) == (0, 0.0)


@given(
    st.lists(
        st.tuples(st.integers(1, 3) | st.none(), st.floats(0.0, 100.0), st.floats(0.001, 30.0)),
        min_size=1,
        max_size=40,
    )
)
def test_rates_are_never_negative(
    history: list[tuple[int | None, float, float]],
) -> None:
    machine = FakeMachine()
    meter = LoadMeter(1, machine.read)
    now = 0.0
    for pid, cpu, gap in history:
        now += gap
        machine.running.clear()
        if pid is not None:
            machine.use(pid, cpu)
        meter.tick(now, [pid], 0)
        assert 0.0 <= meter.cpu_cores(now) < math.inf


def test_a_busy_process_is_charged_what_it_says_it_used() -> None:
    """Against the kernel: a child that spins from when it is told to, and says when it has used 0.3 s."""
    spin = (
        "import time\nprint(time.process_time(), flush=True)\ninput()\n"
        "while time.process_time() < 0.3: pass\n"
        "print(time.process_time(), flush=True)\ninput()"
    )
    processes = Processes()
    with subprocess.Popen(
        [sys.executable, "-c", spin], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        meter = LoadMeter(1, processes.read)
        started = float(child.stdout.readline())
        begin = time.monotonic()
        meter.tick(begin, [child.pid], 0)
        print(file=child.stdin, flush=True)  # it must not have spun before it is measured
        said = float(child.stdout.readline())
        # The scheduler updates the figure of a running process on its tick: wait until it has stopped.
        eventually(
            lambda: (r := processes.read(child.pid)) and r.cpu_seconds >= said - 0.05, 5.0, "its CPU time"
        )
        end = time.monotonic()
        meter.tick(end, [child.pid], 0)
        used, held = meter.cpu_cores(end) * (end - begin), meter.resident_bytes(0)
        child.stdin.close()

    assert used == pytest.approx(said - started, abs=0.1)
    assert held > MIB
    meter.tick(end + 1.0, [child.pid], 0)
    assert meter.cpu_cores(end + 1.0) * (end + 1.0 - begin) == pytest.approx(used)
    assert meter.resident_bytes(0) == 0
