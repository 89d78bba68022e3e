"""Where a run took place.

Processor, kernel, limits, versions, commit. Part of the raw file and of the page.
"""

from __future__ import annotations

import datetime
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.generators import COMPILE
from bench.peers.base import first_line
from bench.places import ROOT
from bench.processors import ALLOWED, other_processors, proxy_processors

if TYPE_CHECKING:
    from bench.peers.base import Peer

#: Kernel settings that decide TCP figures.
SETTINGS = (
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.core.somaxconn",
    "net.ipv4.tcp_tw_reuse",
)


def processor() -> str:
    """The model name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model")):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def setting(name: str) -> str:
    """A sysctl, or "?"."""
    try:
        return " ".join(Path("/proc/sys", *name.split(".")).read_text().split())
    except OSError:
        return "?"


def commit() -> str:
    """Of the working tree, with a plus when it is changed."""
    git = ["git", "-C", str(ROOT)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        )
        dirty = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "?"
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")


def describe(command: list[str], peers: list[Peer]) -> dict[str, Any]:
    """Everything a reader needs to judge a figure or repeat it."""
    memory = Path("/proc/meminfo").read_text().split()[1]
    return {
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python", "-m", "bench", *command]),
        "commit": commit(),
        "processor": processor(),
        "processors": len(ALLOWED),
        "proxy_on": sorted(proxy_processors()),
        "load_on": sorted(other_processors()),
        "memory_gib": round(int(memory) / 1024**2, 1),
        "kernel": platform.release(),
        "python": " ".join(sys.version.split()),
        "compiler": " ".join(COMPILE) + ": " + first_line(["cc", "--version"]),
        "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        "settings": {name: setting(name) for name in SETTINGS},
        "load_average_before": round(os.getloadavg()[0], 2),
        "versions": {peer.name: peer.version() for peer in peers},
        "tuning": {peer.name: peer.about for peer in peers},
    }
