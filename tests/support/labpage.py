"""What a person does in JupyterLab, for Playwright.

Rules of this file: an action is repeated until its effect is seen, since JupyterLab drops what is
typed while it is still building a page; everything waited for has a deadline.
"""

import json
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Browser, Page

from tests.support.browser import SocketLog
from tests.support.jupyter import Jupyter
from tests.support.waiting import eventually_async

__all__ = [
    "LOAD",
    "notebook_in_front",
    "open_lab",
    "open_notebook",
    "open_terminal",
    "output_of",
    "run_and_await",
    "run_first_cell",
    "type_into_terminal",
    "write_notebook",
]

LOAD: Final = 60.0
"""Seconds a JupyterLab page may take: 3 on an idle machine of two cores."""

_PANEL: Final = ".jp-NotebookPanel:not(.lm-mod-hidden)"
_TERMINAL: Final = ".jp-Terminal:not(.lm-mod-hidden)"


async def open_lab(browser: Browser, lab: Jupyter, front: str, path: str = "") -> tuple[Page, SocketLog]:
    """Open JupyterLab in a new browser context.

    Args:
        browser: The browser.
        lab: The server.
        front: ``http://host:port`` to reach it through.
        path: What to open in it, such as ``/tree/name.ipynb``.

    Returns:
        The page, and the log of its WebSockets.
    """
    page = await (await browser.new_context()).new_page()
    page.set_default_timeout(LOAD * 1000)
    log = SocketLog(page)
    await page.goto(lab.page(front, path))
    await page.wait_for_selector("#jp-main-dock-panel")
    return page, log


async def open_notebook(page: Page, log: SocketLog, name: str, *, kernels: int = 1) -> None:
    """Open a notebook from the file browser; else see `notebook_in_front`."""
    await page.locator(".jp-DirListing-item", has_text=name).dblclick()
    await notebook_in_front(page, log, name, kernels=kernels)


async def notebook_in_front(page: Page, log: SocketLog, name: str, *, kernels: int = 1) -> None:
    """Bring a notebook that opens to the front, and wait until its kernel talks.

    Args:
        page: JupyterLab.
        log: Of its sockets.
        name: The notebook's file.
        kernels: How many have talked by then, its own included.
    """
    tab = page.locator("#jp-main-dock-panel .lm-TabBar-tab", has_text=name)
    cell = page.locator(f"{_PANEL} .jp-CodeCell").first

    async def is_in_front() -> bool:
        if await tab.count():
            await tab.first.click()  # on a busy machine the launcher may cover it
        return await cell.is_visible()

    await eventually_async(is_in_front, LOAD, f"{name} is in front", tick=0.2)
    # The toolbar shows an idle kernel before there is one; a cell that is run then starts a second,
    # or makes JupyterLab ask which one to take.
    await eventually_async(lambda: log.talking("/channels") >= kernels, LOAD, "its kernel talks")
    await page.wait_for_selector(f'{_PANEL} .jp-Notebook-ExecutionIndicator[data-status="idle"]')


def write_notebook(file: Path, source: str) -> None:
    """Write a notebook of one cell of Python."""
    cell: dict[str, Any] = {
        "cell_type": "code",
        "execution_count": None,
        "id": "one",
        "metadata": {},
        "outputs": [],
    }
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    file.write_text(
        json.dumps(
            {
                "cells": [{**cell, "source": source}],
                "metadata": {"kernelspec": kernel},
                "nbformat": 4,
                "nbformat_minor": 5,
            }
        )
    )


async def run_first_cell(page: Page) -> None:
    """Run the first cell of the notebook in front, and return once it has been sent to the kernel."""
    prompt = page.locator(f"{_PANEL} .jp-CodeCell .jp-InputPrompt").first

    async def sent() -> bool:
        return (await prompt.text_content() or "").strip() not in {"[ ]:", ""}

    async def pressed() -> bool:
        await page.locator(f"{_PANEL} .jp-CodeCell .cm-content").first.click()
        await page.keyboard.press("Control+Enter")
        try:
            return await eventually_async(sent, 5, "the prompt shows that the cell runs")
        except TimeoutError:  # pressed too early; a second press after an effect would run it twice
            return False

    await eventually_async(pressed, LOAD, "the cell runs")


async def output_of(page: Page) -> str:
    """Return the text of the first cell's output in the notebook in front."""
    text = await page.evaluate(
        "panel => document.querySelector(panel + ' .jp-CodeCell .jp-OutputArea')?.textContent ?? ''", _PANEL
    )
    return str(text)


async def run_and_await(page: Page, output: str) -> None:
    """Run the first cell of the notebook in front, and wait until its output has this text."""
    await run_first_cell(page)

    async def said() -> bool:
        return output in await output_of(page)

    await eventually_async(said, LOAD, f"the cell says {output!r}")


async def open_terminal(page: Page) -> None:
    """Open a terminal from the launcher and wait for its screen."""
    await page.click('.jp-LauncherCard[data-category="Other"] >> text=Terminal')
    await page.wait_for_selector(f"{_TERMINAL} .xterm-screen")


async def type_into_terminal(page: Page, line: str) -> None:
    """Type a line and Return into the terminal in front."""
    await page.click(f"{_TERMINAL} .xterm-screen")
    await page.keyboard.type(line)
    await page.keyboard.press("Enter")
