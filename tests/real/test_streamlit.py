"""A person uses a Streamlit app behind a stripped prefix: moves its slider, uploads a file.

What the page then shows was computed on the server, so its text is the proof.
"""

import hashlib
import random
from collections.abc import Callable

import pytest
from playwright.async_api import Browser, expect

from tests.support.browser import SocketLog
from tests.support.streamlit import Streamlit

pytestmark = pytest.mark.real

UPLOAD = random.Random(6455).randbytes(8_000_000)
DEADLINE_MS = 30_000
FIRST_MS = 60_000
"""For the first page, at which Streamlit reads its libraries: 30 s were too short once."""


async def test_the_slider_moves_and_a_file_is_uploaded(
    streamlit: Streamlit, front: Callable[..., str], chromium: Browser
) -> None:
    page = await chromium.new_page()
    log = SocketLog(page)
    await page.goto(streamlit.page(front(streamlit)))
    try:
        await expect(page.get_by_text("Twice the level is 20.")).to_be_visible(timeout=FIRST_MS)
    finally:
        print(f"sockets opened: {len(log.opened)}, closed: {len(log.closed)}, received: {log.received}")

    await page.get_by_role("slider").press("ArrowRight")
    await expect(page.get_by_text("Twice the level is 22.")).to_be_visible(timeout=DEADLINE_MS)

    await page.locator('input[type="file"]').set_input_files(
        {"name": "measurements.bin", "mimeType": "application/octet-stream", "buffer": UPLOAD}
    )
    digest = hashlib.sha256(UPLOAD).hexdigest()
    told = page.get_by_text(f"Received {len(UPLOAD)} bytes, sha256 {digest}.")
    await expect(told).to_be_visible(timeout=DEADLINE_MS)
    assert len(log.to("/_stcore/stream")) == 1, "the app's socket was opened again"
