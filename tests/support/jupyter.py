"""A real JupyterLab, with its base URL as a reverse proxy in front of it needs it."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from tests.support import parts
from tests.support.processes import Service, answers, reserve_port

__all__ = ["Jupyter", "start_jupyter"]

BASE: Final = "/jupyter/lab/"
"""Jupyter's own base URL includes the whole public prefix, so that its route strips nothing."""

_UP_WITHIN: Final = 90.0
"""Seconds. A first start takes 12 on an idle machine of two cores and several times that on a busy one."""


@dataclass(frozen=True)
class Jupyter:
    """A running JupyterLab.

    Attributes:
        origin: ``http://host:port`` of the server itself.
        base: Its base URL, with a slash at both ends.
        token: What opens it.
        root: Its directory of notebooks.
    """

    origin: str
    base: str
    token: str
    root: Path

    @property
    def fields(self) -> dict[str, str]:
        """Header fields that authenticate a request."""
        return {"Authorization": f"token {self.token}"}

    def route(self, **more: Any) -> dict[str, Any]:
        """Return the route that leads to it, as it stands in a configuration."""
        return {"name": "lab", "kind": "jupyter", "path": self.base, "upstream": self.origin, **more}

    def page(self, front: str, path: str) -> str:
        """Return the address of a JupyterLab page below a front, in a workspace of its own."""
        return f"{front}{self.base}lab/workspaces/{uuid.uuid4().hex[:8]}{path}?token={self.token}"

    def socket(self, front: str, path: str) -> str:
        """Return the address of a WebSocket below a front."""
        return front.replace("http", "ws", 1) + self.base + path

    def write_notebook(self, name: str, cells: Sequence[str]) -> None:
        """Put a notebook into the directory."""
        document = {
            "cells": [
                {
                    "cell_type": "code",
                    "execution_count": None,
                    "id": f"cell-{number}",
                    "metadata": {},
                    "outputs": [],
                    "source": source,
                }
                for number, source in enumerate(cells)
            ],
            "metadata": {
                "kernelspec": {
                    "display_name": "Python 3 (ipykernel)",
                    "language": "python",
                    "name": "python3",
                }
            },
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        (self.root / name).write_text(json.dumps(document))

    async def call(self, front: str, method: str, path: str, body: Any = None) -> Any:
        """Call Jupyter's REST API through a front.

        Returns:
            The decoded answer, or ``None`` for an empty one.

        Raises:
            aiohttp.ClientResponseError: The answer was no success.
        """
        async with (
            aiohttp.ClientSession(raise_for_status=True) as client,
            client.request(method, f"{front}{self.base}api/{path}", headers=self.fields, json=body) as answer,
        ):
            return await answer.json() if answer.status != 204 else None


def start_jupyter(home: Path, sock: Path | None = None) -> tuple[Service, dict[str, Any]]:
    """Start JupyterLab in an empty directory and wait until it answers.

    With a path it listens at that Unix socket, and may not answer yet.

    Its iopub data limit is raised, as everybody does who prints more than 3 MB: with the default
    Jupyter itself drops the output, and nothing of it reaches a proxy.

    Returns:
        The process, and the arguments of `Jupyter` as JSON.
    """
    command = parts.require("jupyter")
    root = home / "notebooks"
    root.mkdir()
    port = reserve_port()
    token = uuid.uuid4().hex
    service = Service(
        "JupyterLab",
        [
            command,
            "lab",
            "--allow-root",
            "--no-browser",
            *(["--ip=127.0.0.1", f"--port={port}"] if sock is None else [f"--sock={sock}"]),
            "--ServerApp.port_retries=0",
            f"--ServerApp.root_dir={root}",
            f"--ServerApp.base_url={BASE}",
            "--ServerApp.allow_remote_access=True",
            f"--IdentityProvider.token={token}",
            "--ZMQChannelsWebsocketConnection.iopub_data_rate_limit=1e12",
            "--LabApp.news_url=None",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            "--LabApp.extension_manager=readonly",
        ],
        home / "jupyter.log",
        cwd=root,
        env={
            "JUPYTER_CONFIG_DIR": str(home / "config"),
            "JUPYTER_DATA_DIR": str(home / "data"),
            "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
            "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
            "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
            "IPYTHONDIR": str(home / "ipython"),
        },
    )
    origin = f"http://127.0.0.1:{port}" if sock is None else f"http+unix://{quote(str(sock), safe='')}"
    try:
        if sock is None:
            service.wait_until(lambda: answers(f"{origin}{BASE}api/status?token={token}"), _UP_WITHIN)
        else:
            service.wait_until(sock.is_socket, _UP_WITHIN)
    except RuntimeError:
        service.stop()
        raise
    return service, {"origin": origin, "base": BASE, "token": token, "root": str(root)}
