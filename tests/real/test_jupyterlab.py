"""A person works in JupyterLab: cells, a second notebook, a terminal.

Every proof is an effect on the server's disk or the text of an output, never a picture.
"""

from collections.abc import Callable

import pytest
from playwright.async_api import Browser

from tests.support.bascule import RunningBascule
from tests.support.jupyter import Jupyter
from tests.support.labpage import (
    notebook_in_front,
    open_lab,
    open_notebook,
    open_terminal,
    output_of,
    run_and_await,
    run_first_cell,
    type_into_terminal,
)
from tests.support.waiting import eventually_async

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

MEGABYTES = 20

PRINTS_MUCH = f"""\
line = "y" * 99 + "\\n"
for _ in range({MEGABYTES * 5}):
    print(line * 2000, end="")
print("that was " + "all")
"""

IDLE_MS = 2000

COUNTS_ITS_RUNS = """\
runs = globals().get("runs", 0) + 1
print("run", runs)
"""

PRINTS_SUM = 'print("the second kernel says", 6 * 7)'


async def test_a_cell_that_prints_20_mb_arrives_whole_and_a_second_notebook_has_its_own_kernel(
    jupyter: Jupyter, front: Callable[..., str], chromium: Browser
) -> None:
    address = front(jupyter)
    jupyter.write_notebook("much.ipynb", [PRINTS_MUCH])
    jupyter.write_notebook("second.ipynb", [PRINTS_SUM])
    page, log = await open_lab(chromium, jupyter, address, "/tree/much.ipynb")
    await notebook_in_front(page, log, "much.ipynb")

    await run_first_cell(page)

    async def printed() -> bool:
        return (await output_of(page)).endswith("that was all\n")

    await eventually_async(printed, 120, "the whole output is shown", tick=1)
    assert len(await output_of(page)) == MEGABYTES * 1_000_000 + len("that was all\n")
    assert sum(log.received.values()) > MEGABYTES * 1_000_000

    await open_notebook(page, log, "second.ipynb", kernels=2)
    await run_first_cell(page)

    async def answered() -> bool:
        return "the second kernel says 42" in await output_of(page)

    await eventually_async(answered, 60, "the second notebook's output is shown")
    assert len(log.live("/channels")) == 2
    attempts = [socket.url for socket in log.to("/channels")]
    assert len(attempts) == len(set(attempts)), "a kernel's socket was opened again"


async def test_a_terminal_runs_what_is_typed(
    jupyter: Jupyter, front: Callable[..., str], chromium: Browser
) -> None:
    address = front(jupyter)
    effect = jupyter.root / "typed.txt"
    effect.unlink(missing_ok=True)
    page, log = await open_lab(chromium, jupyter, address)

    await open_terminal(page)
    await type_into_terminal(page, f"echo R=$((6*7)) > {effect}")

    await eventually_async(effect.exists, 30, "the command took effect")
    await eventually_async(lambda: effect.read_text() == "R=42\n", 5, "the command's output is there")
    assert len(log.to("/terminals/websocket/")) == 1


async def test_after_an_idle_close_kernel_and_terminal_go_on_by_themselves(
    jupyter: Jupyter, bascule: Callable[..., RunningBascule], chromium: Browser
) -> None:
    proxy = bascule({"websocketProxy": {"sessionIdleTimeoutMs": IDLE_MS}, "routes": [jupyter.route()]})
    before, after = jupyter.root / "before-reaper.txt", jupyter.root / "after-reaper.txt"
    before.unlink(missing_ok=True)
    after.unlink(missing_ok=True)
    jupyter.write_notebook("reaped.ipynb", [COUNTS_ITS_RUNS])
    page, log = await open_lab(chromium, jupyter, proxy.public_url)
    await open_terminal(page)
    await type_into_terminal(page, f"KEPT=$((6*7)); echo $KEPT > {before}")
    await eventually_async(before.exists, 30, "the terminal works")
    await open_notebook(page, log, "reaped.ipynb")
    await run_and_await(page, "run 1")
    reaped = ("/channels", "/terminals/websocket/")
    opened = {part: len(log.to(part)) for part in reaped}

    def are_back() -> bool:
        return all(len(log.to(part)) > opened[part] and log.live(part) for part in reaped)

    await eventually_async(are_back, 30, "both sockets were closed and opened again")
    # From here on nothing is idle, so that what is done next is not done in the moment of a close.
    assert proxy.reload(websocketProxy={"sessionIdleTimeoutMs": 0})
    await eventually_async(are_back, 30, "both are open")

    await run_and_await(page, "run 2")
    await page.locator("#jp-main-dock-panel .lm-TabBar-tab", has_text="Terminal").first.click()
    await type_into_terminal(page, f"echo $KEPT > {after}")
    await eventually_async(after.exists, 30, "the terminal still works")
    await eventually_async(lambda: after.read_text() == "42\n", 5, "it is the same shell")
    assert await page.locator(".jp-Dialog").count() == 0, "JupyterLab has asked or told something"
    reasons = {(line["ended_by"], line["cause"]) for line in proxy.events("session ended")}
    assert reasons == {("proxy", "idle")}
