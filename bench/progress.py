"""A progress bar on the terminal's last line; plain lines where there is no terminal."""

from __future__ import annotations

import shutil
import sys
import time


class Progress:
    """Counts steps towards a total known beforehand; a step may weigh more than one."""

    def __init__(self, total: float) -> None:
        self.total = max(total, 1.0)
        self.done = 0.0
        self.began = time.monotonic()
        self.tty = sys.stderr.isatty()
        self._percent = -10

    def step(self, label: str, weight: float = 1.0) -> None:
        """One step is over; ``label`` says what is being measured."""
        self.done = min(self.done + weight, self.total)
        self.show(label)

    def show(self, label: str) -> None:
        """Draw."""
        share = self.done / self.total
        elapsed = time.monotonic() - self.began
        left = elapsed / share - elapsed if share > 0.02 else 0.0
        times = f"{_clock(elapsed)}" + (f", {_clock(left)} to go" if left else "")
        if self.tty:
            width = shutil.get_terminal_size().columns
            filled = int(share * 30)
            bar = "█" * filled + "░" * (30 - filled)
            line = f"{bar} {share:4.0%} {times}  {label}"
            sys.stderr.write("\r" + line[: width - 1].ljust(width - 1))
            sys.stderr.flush()
        elif int(share * 100) >= self._percent + 10:
            self._percent = int(share * 100)
            print(f"{share:4.0%} {times}  {label}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the line."""
        if self.tty:
            sys.stderr.write("\r" + " " * (shutil.get_terminal_size().columns - 1) + "\r")
            sys.stderr.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"
