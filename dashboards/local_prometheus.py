"""A Prometheus server of our own on loopback, for tests and for drawing the dashboard.

Rules of this file: the kernel chooses the port, nothing outlives the context, and
what the server wrote to its log is in the exception when it does not come up.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from bascule.demo.children import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

START_DEADLINE = 30.0


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running server.

    Attributes:
        url: Its address, without a trailing slash.
    """

    url: str

    def get(self, path: str, **parameters: str) -> Any:
        """Call the HTTP API and return what is under ``data``."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Evaluate an expression now; each item has ``metric`` and ``value``."""
        result: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return result

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """Evaluate an expression over a range; each item has ``metric`` and ``values``."""
        data = self.get("query_range", query=expression, start=str(start), end=str(end), step=f"{step:.3f}")
        result: list[dict[str, Any]] = data["result"]
        return result


def poll(condition: Callable[[], bool], deadline: float, what: str) -> None:
    """Wait until a condition holds.

    Raises:
        TimeoutError: It did not within `deadline` seconds.
    """
    give_up_at = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"{what} did not happen within {deadline:g} s")
        time.sleep(0.1)


@contextlib.contextmanager
def running(folder: Path, configuration: dict[str, Any], *arguments: str) -> Iterator[Prometheus]:
    """Run a server with a configuration until the block ends.

    Args:
        folder: For its configuration, data and log; must exist.
        configuration: What stands in ``prometheus.yml``; relative rule files are relative to `folder`.
        arguments: Further flags.

    Raises:
        TimeoutError: It did not become ready; the message ends with its log.
    """
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
    server = Prometheus(f"http://127.0.0.1:{free_port()}")
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--web.listen-address={server.url.removeprefix('http://')}",
                f"--storage.tsdb.path={folder / 'data'}",
                *arguments,
            ],
            stdout=output,
            stderr=output,
        )
        try:
            try:
                poll(lambda: _is_ready(server.url, process), START_DEADLINE, "Prometheus becoming ready")
            except TimeoutError as error:
                raise TimeoutError(f"{error}:\n{log.read_text(errors='replace')[-2000:]}") from None
            yield server
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _is_ready(url: str, process: subprocess.Popen[bytes]) -> bool:
    if process.poll() is not None:
        raise TimeoutError(f"Prometheus ended with status {process.returncode}")
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
