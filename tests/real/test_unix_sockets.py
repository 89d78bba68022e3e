"""nginx, Bascule and JupyterLab on one host, with a Unix socket between each two of them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from websockets.asyncio.client import connect

from tests.support.jupyter import Jupyter, start_jupyter
from tests.support.kernel import execute, text_of
from tests.support.nginx import run_nginx
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Start

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]


async def test_a_cell_runs_and_the_client_is_nginxs(
    bascule: Start, socket_folder: Path, tmp_path: Path
) -> None:
    home = tmp_path / "jupyter"
    home.mkdir()
    service, facts = start_jupyter(home, socket_folder / "lab.sock")
    try:
        jupyter = Jupyter(**{**facts, "root": home})
        public = socket_folder / "public.sock"
        proxy = bascule(
            {"listen": f"unix:{public}", "listenMode": "0666", "trustedProxies": ["unix:"],
             "routes": [jupyter.route()]}
        )  # fmt: skip
        with run_nginx(tmp_path, f"unix:{public}", upstream="keepalive 4;") as front:
            made = await jupyter.call(front, "POST", "kernels", {"name": "python3"})
            async with connect(
                jupyter.socket(front, f"api/kernels/{made['id']}/channels?session_id={uuid.uuid4().hex}"),
                additional_headers=jupyter.fields,
                origin=front,  # type: ignore[arg-type]  # as a browser does
                max_size=None,
                open_timeout=60,
            ) as kernel:
                said = text_of(await execute(kernel, "display({'text/plain': 'y' * 3_000_000}, raw=True)"))
                assert said == "y" * 3_000_000
                (row,) = proxy.sessions()
                assert row["client"] == "127.0.0.1"
                assert row["upstream"] == f"unix:{socket_folder}/lab.sock"
            await jupyter.call(front, "DELETE", f"kernels/{made['id']}")
        (line,) = eventually(lambda: proxy.events("session ended"), 10, "the session's line")
        assert (line["client"], line["upstream"]) == ("127.0.0.1", f"unix:{socket_folder}/lab.sock")
    finally:
        service.stop()
