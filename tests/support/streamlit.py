"""A real Streamlit app."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support import parts
from tests.support.processes import Service, answers, reserve_port

__all__ = ["Streamlit", "start_streamlit"]

APP: Final = parts.ROOT / "tests/real/apps/levels.py"
PATH: Final = "/apps/demo/levels/"
_UP_WITHIN: Final = 60.0


@dataclass(frozen=True)
class Streamlit:
    """A running app.

    Attributes:
        origin: ``http://host:port`` of the server itself; it serves from the root.
    """

    origin: str

    def page(self, front: str) -> str:
        """Return the address of the app below a front: under its prefix, unless that is the app itself."""
        return front + ("/" if front == self.origin else PATH)

    def route(self, **more: Any) -> dict[str, Any]:
        """Return the route that leads to it: stripped, as apps behind Hopsworks are reached."""
        return {
            "name": "levels",
            "kind": "app",
            "path": PATH,
            "upstream": self.origin,
            "stripPrefix": True,
            "incomingBufferBytes": 209715200,
            **more,
        }


def start_streamlit(home: Path) -> tuple[Service, dict[str, Any]]:
    """Start the app and wait until it is healthy.

    Returns:
        The process, and the arguments of `Streamlit` as JSON.
    """
    command = parts.require("streamlit")
    port = reserve_port()
    service = Service(
        "Streamlit",
        [
            command,
            "run",
            APP,
            f"--server.port={port}",
            "--server.address=127.0.0.1",
            "--server.headless=true",
            "--server.fileWatcherType=none",
            "--browser.gatherUsageStats=false",
        ],
        home / "streamlit.log",
        cwd=home,
        env={"HOME": str(home)},
    )
    origin = f"http://127.0.0.1:{port}"
    try:
        service.wait_until(lambda: answers(f"{origin}/_stcore/health"), _UP_WITHIN)
    except RuntimeError:
        service.stop()
        raise
    return service, {"origin": origin}
