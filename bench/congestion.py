"""TCP's congestion control during a run: ``cubic``, the kernel's own default.

Some computers are set to ``bbr``, which paces each connection by an estimate of its own. On loopback that
decides how large the pieces are in which a message arrives, and with them the figure: one proxy, unchanged,
cost 0.20 or 0.31 s a GB in 256 KiB messages by the luck of the run, and two and a half times as much in 4 MiB
messages as under cubic. It is a setting of the whole network namespace, so it is put back.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

WANTED: Final = "cubic"
SETTING: Final = Path("/proc/sys/net/ipv4/tcp_congestion_control")


@contextlib.contextmanager
def steady(setting: Path = SETTING) -> Iterator[str]:
    """Use cubic where that is allowed (root); what is in force is yielded, and the former put back."""
    former = setting.read_text().strip()
    with contextlib.suppress(OSError):
        if former != WANTED:
            setting.write_text(WANTED)
    try:
        yield setting.read_text().strip()
    finally:
        with contextlib.suppress(OSError):
            if setting.read_text().strip() != former:
                setting.write_text(former)
