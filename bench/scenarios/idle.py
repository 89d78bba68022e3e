"""Idle sessions: what one keeps in user and kernel memory, and what heartbeats for thousands cost.

Every session has exchanged one message before it is left alone, as real ones have. Kernel memory of the
computer counts all four sockets of a session; the share of the load generator and the upstream is measured
without a proxy and taken off.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from bench import accounting
from bench.results import Case, Metric
from bench.scenarios.base import Context, Scenario
from bench.stands import direct

if TYPE_CHECKING:
    from bench.generators import Load
    from bench.stands import Stand

USER = Metric("idle_user", "User memory per idle session", "KiB")
FORWARDER = Metric("idle_forwarder", "User memory per idle session, the forwarder alone", "KiB")
KERNEL = Metric("idle_kernel", "Kernel memory per idle session", "KiB")
HEARTBEATS = Metric(
    "heartbeat_cpu", "CPU of idle sessions with heartbeats", "% of a core", to_yardstick=False
)


class Idle(Scenario):
    """Fresh processes.

    Memory at two counts, one after the other; then all proxies hold their sessions at the same time.
    """

    name = "idle"
    title = "Idle sessions"

    def steps(self, context: Context) -> float:
        """Opening them is most of it; the hold is common."""
        per_proxy = context.pick(4.0, 0.6, 0.2)
        return len(context.fleet.peers) * per_proxy + context.pick(21.0, 4.5, 1.0)

    def run(self, context: Context) -> None:
        """Bascule and the Python relay send heartbeats of their own.

        For the other peers the upstream pings at that interval.
        """
        counts = context.pick((500, 5000), (500,), (20,))
        interval = context.pick(20_000, 2_000, 500)
        kernel_base: dict[int, float] = {}
        with ExitStack() as stack:
            held: list[tuple[Stand, Load]] = []
            straight = direct()
            stack.callback(straight.stop)
            self.fill(context, straight, stack, counts, kernel_base, "/echo")
            for stand in context.fleet.start(context.fleet.peers, heartbeat_ms=interval):
                stack.callback(stand.stop)
                with context.fleet.guarded(stand, "idle sessions"):
                    path = "/echo" if stand.peer and stand.peer.heartbeats else "/heartbeat"
                    held.append((stand, self.fill(context, stand, stack, counts, kernel_base, path)))
                context.progress.step(f"idle sessions: {stand.name}", context.pick(4.0, 0.6, 0.2))
            self.hold(context, held, counts[-1], interval)

    def fill(
        self,
        context: Context,
        stand: Stand,
        stack: ExitStack,
        counts: tuple[int, ...],
        kernel_base: dict[int, float],
        path: str,
    ) -> Load:
        """Open up to each count and read memory; ``direct`` fills in kernel_base."""
        load = stack.enter_context(stand.load())
        load.ask("open", n=20, path=path)
        load.ask("run", size=64, messages=20)
        load.ask("close")
        user, forwarder = stand.memory(), stand.memory("bascule.forwarder")
        kernel = accounting.kernel_memory().total
        so_far = 0
        for count in counts:
            load.ask("open", n=count - so_far, path=path, conc=32)
            load.ask("run", size=64, messages=count)
            so_far = count
            per_session = (accounting.kernel_memory().total - kernel) / count / 1024
            case = Case("", count, f"{count:,} sessions")
            if stand.running is None:
                kernel_base[count] = per_session
                continue
            context.results.add(self.name, case, USER, stand.name, (stand.memory() - user) / count / 1024)
            context.results.add(self.name, case, KERNEL, stand.name, per_session - kernel_base[count])
            if forwarder:
                grown = stand.memory("bascule.forwarder") - forwarder
                context.results.add(self.name, case, FORWARDER, stand.name, grown / count / 1024)
        return load

    def hold(self, context: Context, held: list[tuple[Stand, Load]], count: int, interval: int) -> None:
        """All at once: each proxy's clock is its own, and the wait is the same wait."""
        case = Case("", count, f"{count:,} sessions, a heartbeat every {interval / 1000:g} s")
        for _, load in held:
            load.send("idle", seconds=0.3)  # answers what piled up while the others were filled
        for _, load in held:
            load.answer()
        seconds = interval / 1000 * (1 if interval >= 10_000 else 2)
        before = {stand.name: accounting.read_processor(stand.pids) for stand, _ in held}
        for _, load in held:
            load.send("idle", seconds=seconds)
        for stand, load in held:
            with context.fleet.guarded(stand, "heartbeats"):
                answer = load.answer(timeout=seconds + 60)
                cost = accounting.read_processor(stand.pids).since(before[stand.name])
                if answer["sessions"] < count:
                    context.results.note(
                        f"{stand.name}: {count - answer['sessions']} idle sessions were lost"
                    )
                beats = answer["pings"] + answer["pongs"]  # Bascule's heartbeat is an unsolicited pong
                if beats < count * 0.9:
                    context.results.note(f"{stand.name}: only {beats} heartbeats for {count} sessions")
                context.results.add(self.name, case, HEARTBEATS, stand.name, cost.cpu / cost.wall * 100)
        context.progress.step("heartbeats of idle sessions", context.pick(21.0, 4.5, 1.0))
