"""The Python peer.

Relays whole messages, as jupyter-server-proxy, websockify and the FastAPI proxies do (message_relay.py).
"""

from __future__ import annotations

from pathlib import Path

from bench.peers.base import Launch, Peer, Setting, first_line
from bench.places import VENV


class PythonRelay(Peer):
    """Built on websockets and uvloop."""

    name = "python-relay"
    about = "a message relay on websockets and uvloop, no compression: what a proxy in Python usually is"
    http = False
    heartbeats = True  # the library answers the upstream's pings itself, as every message relay does

    def missing(self) -> str | None:
        """The suite's virtual environment with websockets."""
        for package in ("websockets", "uvloop"):
            if not list(VENV.glob(f"lib/python3*/site-packages/{package}")):
                return f"{package} is not installed in build/bench/venv"
        return None

    def version(self) -> str:
        """Of the library and the interpreter."""
        program = (
            "import sys, websockets as w; print('websockets', w.__version__, 'on', sys.version.split()[0])"
        )
        return first_line([str(VENV / "bin" / "python"), "-c", program])

    def launch(self, setting: Setting) -> Launch:
        """Unbuffered so that its last words reach the log."""
        program = Path(__file__).parent / "message_relay.py"
        numbers = [str(setting.port), str(setting.upstream), str(setting.heartbeat_ms)]
        return Launch([str(VENV / "bin" / "python"), "-u", str(program), *numbers])
