"""Which receive buffer the yardstick should have: ``python -m bench.buffer_sweep``.

The same relay with several buffers, in turn, as the scenarios do it. The best is the fair one to compare
with.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from contextlib import ExitStack

from bench import accounting
from bench.generators import Echo, Load, build
from bench.processors import pin, proxy_processors

BUFFERS_KIB = (16, 64, 128, 256, 512, 1024, 4096)
#: Message size, sessions, messages in flight.
SHAPES = {
    "64 B x 8": (64, 50, 8),
    "256 KiB": (256 << 10, 1, 1),
    "4 MiB": (4 << 20, 1, 1),
    "32 MiB": (32 << 20, 1, 1),
}
ROUNDS = 8


def main() -> int:
    """Print CPU per round trip (small) and per GB (large) for each buffer."""
    samples: dict[tuple[str, int], list[float]] = {}
    with ExitStack() as stack:
        relays = []
        for kib in BUFFERS_KIB:
            echo = stack.enter_context(Echo())
            relay = subprocess.Popen(
                [str(build("relay")), "0", str(echo.port), str(kib * 1024)],
                stdout=subprocess.PIPE,
                text=True,
                preexec_fn=pin(proxy_processors()),
            )
            stack.callback(relay.kill)
            assert relay.stdout is not None
            load = stack.enter_context(Load(int(relay.stdout.readline())))
            load.ask("open", n=50)
            relays.append((kib, relay.pid, load))
        for number in range(ROUNDS):
            for kib, pid, load in relays if number % 2 else reversed(relays):
                for name, (size, sessions, flight) in SHAPES.items():
                    before = accounting.read_processor([pid])
                    answer = load.ask("run", size=size, active=sessions, flight=flight, seconds=0.06)
                    cpu = accounting.read_processor([pid]).since(before).cpu / answer["answered"]
                    samples.setdefault((name, kib), []).append(cpu * (1e6 if size == 64 else 1e9 / 2 / size))
    print(f"{'':10}" + "".join(f"{kib:>8} KiB" for kib in BUFFERS_KIB))
    for name in SHAPES:
        row = (statistics.median(samples[name, kib]) for kib in BUFFERS_KIB)
        print(
            f"{name:10}" + "".join(f"{value:12.3f}" for value in row) + (" µs" if "B x" in name else " s/GB")
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
