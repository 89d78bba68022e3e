"""The product: ``bascule serve --config FILE``, one process tree a test.

In most tests it is a copy of a process that has imported all of it (`tests.support.imported`); those of the
command line and of the documentation start the command as its users do.
"""

import contextlib
import json
import os
import signal
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.imported import copies_would_differ, start_copy
from tests.support.processes import Service
from tests.support.series import read_series
from tests.support.waiting import eventually

__all__ = ["RunningBascule", "run_bascule"]

_UP_WITHIN: Final = 30.0
_NO_AUTHORITIES: Final = {"SSL_CERT_FILE": os.devnull}
"""No test meets a public certificate, and to read all authorities is a tenth of the CPU of a start."""

_WITHOUT_RICH: Final = Path(__file__).parent / "withoutrich"
"""The developers' tools bring rich. structlog imports it where it is, another tenth of a start."""

_DOWN_WITHIN: Final = 20.0


@dataclass(frozen=True)
class RunningBascule:
    """A running proxy.

    Attributes:
        public_url: ``http://host:port`` for browsers; ``unix:/path`` where it listens at a Unix socket.
        admin_url: The same of the admin listener.
        process: The supervisor.
        file: Its configuration.
    """

    public_url: str
    admin_url: str
    process: Service
    file: Path

    @property
    def log_lines(self) -> list[dict[str, Any]]:
        """What it logged so far, decoded; a line that is no JSON has only the key ``text``."""
        return list(_decoded(self.process.log))

    def events(self, event: str) -> list[dict[str, Any]]:
        """Return its log lines of one event."""
        return [line for line in self.log_lines if line.get("event") == event]

    def all_events(self, event: str, count: int) -> list[dict[str, Any]]:
        """Wait until there are so many log lines of one event, and return them."""
        return eventually(lambda: found if len(found := self.events(event)) == count else None, 10, event)

    @property
    def in_flight(self) -> float:
        """How many sessions it counts."""
        return self.metric("ws_connection_in_flight_count")

    @property
    def in_flight_if_up(self) -> float | None:
        """The same; ``None`` while no gateway is there to say."""
        return self.metric_if_up("ws_connection_in_flight_count")

    @property
    def cap_if_up(self) -> float | None:
        """The cap in force; ``None`` while no gateway is there to say."""
        return self.metric_if_up("ws_pool_max_connections")

    def metric_if_up(self, name: str, **labels: str) -> float | None:
        """Return what `metric` does; ``None`` while no gateway is there to say, or it leaves and hangs up."""
        try:
            return self.metric(name, **labels)
        except OSError:
            return None

    def change(self, **config: Any) -> None:
        """Replace blocks of the configuration file; one that is ``None`` is taken out."""
        whole = {**json.loads(self.file.read_text()), **config}
        self.file.write_text(json.dumps({key: each for key, each in whole.items() if each is not None}))

    def hang_up(self) -> None:
        """Ask it to load the configuration again."""
        os.kill(self.process.pid, signal.SIGHUP)

    def reload(self, **config: Any) -> bool:
        """Replace blocks of the configuration, let it load them, and tell whether it took them."""
        outcomes = ("configuration reloaded", "configuration not reloaded")

        def said() -> list[str]:
            return [line["event"] for line in self.log_lines if line.get("event") in outcomes]

        before = len(said())
        self.change(**config)
        self.hang_up()
        eventually(lambda: len(said()) > before, _UP_WITHIN, "it has loaded the configuration or not")
        return said()[before] == outcomes[0]

    def goes_over(self, cap: int, *, pool: dict[str, int] | None = None, **config: Any) -> None:
        """Replace the cap, and other blocks of the configuration; wait until another gateway serves so.

        Args:
            cap: Another than before: a reload is answered before the gateway serves, and tells by this.
            pool: Other keys beside it.
            config: Other blocks.
        """
        assert self.reload(websocketProxy={**(pool or {}), "maxSessionsPerApp": cap}, **config)
        eventually(lambda: self.cap_if_up == cap, 20, f"another gateway serves, with a cap of {cap}")

    def drain(self) -> None:
        """Begin a drain as an operator does, and wait until it has begun."""
        order = urllib.request.Request(
            f"{self.admin_url}/drain", method="POST", headers={"X-Bascule-Admin": "1"}
        )
        with urllib.request.urlopen(order, timeout=10) as answer:
            assert answer.status == 202
        eventually(lambda: self.metric("ws_draining") == 1, 10, "it drains")

    def metrics(self) -> str:
        """Return the text of ``/metrics``."""
        with urllib.request.urlopen(f"{self.admin_url}/metrics", timeout=10) as response:
            return str(response.read().decode())

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's series that carry these labels; 0 where there are none."""
        return sum(
            value
            for series, value in read_series(self.metrics()).items()
            if series.partition("{")[0] == name and all(f'{k}="{v}"' in series for k, v in labels.items())
        )

    def sessions(self) -> list[dict[str, Any]]:
        """Return the live sessions as the admin API lists them."""
        with urllib.request.urlopen(f"{self.admin_url}/sessions", timeout=10) as response:
            answer = json.load(response)
        rows: list[dict[str, Any]] = answer["sessions"] if isinstance(answer, dict) else answer
        return rows


def _decoded(log: Path) -> Iterator[dict[str, Any]]:
    for line in log.read_text(errors="replace").splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        yield found if isinstance(found, dict) else {"text": line}


def _listening(log: Path) -> dict[str, Any] | None:
    return next((line for line in _decoded(log) if line.get("event") == "listening"), None)


def _url(address: str) -> str:
    return address if address.startswith("unix:") else f"http://{address}"


@contextlib.contextmanager
def run_bascule(
    home: Path,
    config: Mapping[str, Any],
    *,
    env: Mapping[str, str] | None = None,
    status: int = 0,
    under: Sequence[str] = (),
) -> Iterator[RunningBascule]:
    """Run the proxy on ports that the kernel chooses, and end it with SIGTERM.

    Args:
        home: An existing directory for its configuration and log.
        config: The configuration; listeners, log format and a quick drain are added where it has none.
        env: More environment, such as ``BASCULE_PURE=1``.
        status: What it is to end with.
        under: A command in front of it, such as ``setpriv``.

    Yields:
        The proxy, ready to serve.

    Raises:
        AssertionError: It did not exit with that after SIGTERM.
    """
    whole = {
        "listen": "127.0.0.1:0",
        "admin": "127.0.0.1:0",
        "log": {"format": "json"},
        "drain": {"timeout": "10s", "rate": 0},
        **config,
    }
    file = home / "bascule.yaml"
    file.write_text(json.dumps(whole, indent=1))  # JSON is YAML
    script = Path(sys.executable).parent / "bascule"
    start = [script] if os.access(script, os.X_OK) else [sys.executable, "-m", "bascule"]
    words = ["serve", "--config", str(file)]
    whole_env, log = {**_NO_AUTHORITIES, **(env or {})}, home / "bascule.log"
    if under or copies_would_differ(whole_env):
        whole_env = {"PYTHONPATH": str(_WITHOUT_RICH), **whole_env}
        service = Service("bascule", [*under, *start, *words], log, cwd=home, env=whole_env)
    else:
        log.touch()
        service = Service.of("bascule", start_copy(words, log, home, whole_env, _WITHOUT_RICH), log)
    clean = False
    try:
        said = service.wait_until(lambda: _listening(service.log), _UP_WITHIN)
        yield RunningBascule(_url(said["public"]), _url(said["admin"]), service, file)
        clean = True
    finally:
        ended = service.stop(_DOWN_WITHIN)
        if clean:  # a failure of the test itself is the one to report
            assert ended == status, f"bascule ended with {ended}:\n{service.said()}"
