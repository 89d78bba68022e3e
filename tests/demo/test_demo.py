"""The demo as a newcomer starts it: one command, one address, one page."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from bascule.configuration.loading import load
from bascule.demo.main import run
from bascule.errors import ConfigError
from tests.support.browser import run_chromium
from tests.support.network import ip, own_network
from tests.support.processes import Service, answers, reserve_port
from tests.support.proctree import alive, children
from tests.support.waiting import eventually, eventually_async

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.async_api import Page, WebSocketRoute

REASON = "WebSocket session cap reached (maxSessionsPerApp)"


def start(home: Path, *arguments: str) -> tuple[Service, str]:
    """Start the demo; returns it with its address, once that is announced."""
    argv = [sys.executable, "-m", "bascule", "demo", *arguments]
    # Its own temporary files go with the test, also where it is killed and cannot remove them.
    service = Service("demo", argv, home / "demo.log", cwd=home, env={"TMPDIR": str(home)})
    try:
        return service, service.wait_until(lambda: announced(service), 60)
    except BaseException:
        service.stop()
        raise


def announced(demo: Service) -> str | None:
    """Return the address that a demo has printed; None until then."""
    said = re.search(r"http://\S+", demo.said())
    return said and said.group()


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[str]:
    service, address = start(tmp_path, "--listen", "127.0.0.1:0")
    yield address
    assert service.stop(30) == 0, service.said()


def read(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=10) as answer:
        return json.load(answer)


def test_one_address_is_printed_and_everything_is_behind_it(demo: str) -> None:
    about = read(f"{demo}about.json")
    assert about["cap"] == 12
    assert read(f"{demo}.bascule/capacity")["instance"]["max"] == 12
    assert answers(f"{about['admin']}metrics")
    assert answers(about["admin"])


def test_an_address_that_is_taken_is_told_in_one_line(tmp_path: Path) -> None:
    service, address = start(tmp_path, "--listen", "127.0.0.1:0")
    try:
        port = address.rstrip("/").rpartition(":")[2]
        argv = [sys.executable, "-m", "bascule", "demo", "--listen", f"127.0.0.1:{port}"]
        run = subprocess.run(argv, capture_output=True, text=True, timeout=30, cwd=tmp_path)
        assert run.returncode == 2
        assert run.stderr.count("\n") == 1
        assert f"127.0.0.1:{port}" in run.stderr
    finally:
        service.stop(30)


@pytest.mark.parametrize("lacks", ["address", "link"])
@pytest.mark.parametrize("arguments", [(), ("--listen", "0.0.0.0:0", "--admin", "0.0.0.0:0")])
def test_a_machine_without_a_loopback_is_told_in_one_line(
    tmp_path: Path, lacks: str, arguments: tuple[str, ...]
) -> None:
    with own_network():
        if lacks == "address":
            ip("address", "del", "127.0.0.1/8", "dev", "lo")
        else:
            ip("link", "set", "lo", "down")
        argv = [sys.executable, "-m", "bascule", "demo", *arguments]
        run = subprocess.run(argv, capture_output=True, text=True, timeout=30, cwd=tmp_path)
    assert (run.returncode, run.stdout) == (2, "")
    (line,) = run.stderr.splitlines()
    assert "loopback (127.0.0.1)" in line


def test_a_demo_whose_address_cannot_be_printed_runs_all_the_same(tmp_path: Path) -> None:
    port = reserve_port()
    command = f"exec {sys.executable} -m bascule demo --listen 127.0.0.1:{port} >/dev/full"
    service = Service("demo", ["sh", "-c", command], tmp_path / "log", env={"TMPDIR": str(tmp_path)})
    try:
        service.wait_until(lambda: answers(f"http://127.0.0.1:{port}/about.json"), 60)
    finally:
        status = service.stop(30)
    assert (status, service.said()) == (0, "")


def test_demos_that_start_at_the_same_moment_each_get_ports_of_their_own(tmp_path: Path) -> None:
    demos = []
    try:
        for number in range(3):
            home = tmp_path / str(number)
            home.mkdir()
            log = home / "demo.log"
            demos.append(Service("demo", [sys.executable, "-m", "bascule", "demo"], log, cwd=home))
        addresses = {demo.wait_until(partial(announced, demo), 60) for demo in demos}
        assert all(address.startswith("http://127.0.0.1:") for address in addresses), "nobody else's business"
        assert len({read(f"{address}about.json")["admin"] for address in addresses}) == 3
    finally:
        for demo in demos:
            demo.stop(30)


def test_the_upstream_ends_even_when_the_demo_is_killed(tmp_path: Path) -> None:
    port = reserve_port()
    service, _ = start(tmp_path, "--listen", f"127.0.0.1:{port}")
    try:
        (upstream,) = (pid for pid, runs in children(service.pid).items() if runs == "bascule.demo.upstream")
        os.kill(service.pid, signal.SIGKILL)
        eventually(lambda: not alive(upstream), 10, "the upstream is gone")
    finally:
        service.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_demo_that_waits_for_its_tools_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals
) -> None:
    for tool in ("jupyter", "streamlit"):
        (tmp_path / tool).write_text(f'#!/bin/sh\necho $$ >"$TMPDIR/{tool}.pid"\nexec sleep 600\n')
        (tmp_path / tool).chmod(0o755)
    path = {"TMPDIR": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    argv = [sys.executable, "-m", "bascule", "demo", "--jupyter"]
    demo = Service("demo", argv, tmp_path / "demo.log", cwd=tmp_path, env=path)

    def tools() -> list[int]:
        return [int(said.read_text()) for said in tmp_path.glob("*.pid") if said.stat().st_size]

    try:
        demo.wait_until(lambda: len(tools()) == 2, 30)
        demo.process.send_signal(number)
        assert demo.process.wait(20) == -number
        assert [pid for pid in tools() if alive(pid)] == []
        assert list(tmp_path.glob("bascule-demo-*")) == []
        assert demo.said() == ""
    finally:
        demo.stop()
        for pid in tools():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


async def taken(page: Page, count: int, within: float = 20) -> None:
    async def look() -> bool:
        return await page.inner_text("#in-flight") == str(count)

    await eventually_async(look, within, f"{count} slots are taken")


async def unknown(page: Page) -> bool:
    return await page.inner_text("#in-flight") == "\N{EN DASH}"


async def badges(page: Page) -> str:
    script = "document.querySelector('#badge').shadowRoot.querySelector('.spoken').textContent"
    return str(await page.evaluate(script))


@pytest.mark.real
async def test_a_newcomer_fills_the_pool_is_refused_and_sees_why(demo: str) -> None:
    wrong: list[str] = []
    async with run_chromium() as browser:
        page = await browser.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        await page.goto(demo)
        await taken(page, 0)
        await page.click("[data-open='10']")
        await taken(page, 10)

        async def orange() -> bool:
            return await badges(page) == "This instance is close to its limit. Cluster is close to its limit"

        await eventually_async(orange, 10, "the badges are orange")
        assert await page.is_enabled("#start")
        await page.click("#refuse")
        await taken(page, 12)

        async def told() -> bool:
            return (
                await page.is_visible("#refusal-reason")
                and await page.inner_text("#refusal-reason") == REASON
            )

        await eventually_async(told, 10, "the refusal is shown")
        assert await page.inner_text("#refusal-code") == "1013"

        async def red() -> bool:
            return await badges(page) == "This instance is full. Cluster is full"

        await eventually_async(red, 10, "the badges are red")
        assert await page.is_disabled("#start")
        await page.click("#ask")

        async def gate() -> bool:
            return (await page.inner_text("#gate")).startswith("503: WebSocket pool full.")

        await eventually_async(gate, 10, "the gate is shut")
        await page.click("#close-all")
        await taken(page, 0)
        await eventually_async(lambda: page.is_enabled("#start"), 10, "the button is back")

        async def over() -> bool:
            return await page.inner_text("#gate") == "There is room again."

        await eventually_async(over, 10, "what the gate said is over")
    assert wrong == []


@pytest.mark.real
async def test_a_newcomer_types_into_both_streams(demo: str) -> None:
    async with run_chromium() as browser:
        page = await browser.new_page()
        await page.goto(demo)
        await page.fill("#echo-input", "through the bridge")
        await page.press("#echo-input", "Enter")

        async def echoed() -> bool:
            return (await page.inner_text("#echo-screen")).count("through the bridge") == 2

        await eventually_async(echoed, 10, "the echo came back")
        await page.fill("#shell-input", "flood 500")
        await page.press("#shell-input", "Enter")

        async def flooded() -> bool:
            return "500 lines in" in await page.inner_text("#shell-screen")

        await eventually_async(flooded, 10, "the flood is through")
        await taken(page, 2)
        await page.fill("#shell-input", "close 4001")
        await page.press("#shell-input", "Enter")

        async def closed() -> bool:
            return "closed: 4001 as you wish" in await page.inner_text("#shell-screen")

        await eventually_async(closed, 10, "the upstream's own code is shown")
        await taken(page, 1)


@pytest.mark.real
async def test_a_refusal_that_is_held_is_not_shown_as_a_session(demo: str) -> None:
    async with run_chromium() as browser:
        page = await browser.new_page()
        await page.goto(demo)
        await taken(page, 0)
        await page.click("#fill")
        await taken(page, 12)
        for tries in range(1, 6):  # the fifth is held for two seconds at least
            await page.click("#echo-toggle")

            async def closed(tries: int = tries) -> bool:
                return (await page.inner_text("#echo-screen")).count(": 1013") == tries

            await eventually_async(closed, 10, "the page says what became of it")
        assert (await page.inner_text("#echo-screen")).count("refused: 1013") == 5


@pytest.mark.real
async def test_a_slot_that_is_asked_for_does_not_look_taken_and_its_number_is_read(demo: str) -> None:
    async with run_chromium() as browser:
        page = await browser.new_page(reduced_motion="reduce")
        await page.route_web_socket(re.compile("/echo"), lambda _: None)  # it opens, and nothing is said
        await page.goto(demo)
        await page.click("[data-open='1']")
        looks = "element => (({backgroundColor, color, opacity}) => [backgroundColor, color, opacity])"
        asked = await page.locator(".slot.opening").evaluate(f"{looks}(getComputedStyle(element))")
        ink = await page.evaluate("getComputedStyle(document.body).color")
        assert asked == ["rgba(0, 0, 0, 0)", ink, "1"]


@pytest.mark.real
async def test_a_dead_upstream_has_a_reason_of_its_own(demo: str) -> None:
    async with run_chromium() as browser:
        page = await browser.new_page()
        await page.goto(demo)
        await page.click("#unreachable")

        async def told() -> bool:
            return await page.is_visible("#refusal-reason") and "not reachable" in await page.inner_text(
                "#refusal-reason"
            )

        await eventually_async(told, 15, "the refusal is shown")
        assert await page.inner_text("#refusal-code") == "1013"
        await taken(page, 0)


MARKUP = "<img src=x onerror='document.stolen = 1'><b class=peer>58</b>"


@pytest.mark.real
async def test_58_a_reason_that_is_markup_is_shown_as_text(demo: str) -> None:
    async with run_chromium() as browser:
        page = await browser.new_page()

        async def refuse(session: WebSocketRoute) -> None:
            await session.close(code=4001, reason=MARKUP)

        async def say_and_close(session: WebSocketRoute) -> None:
            session.send("$ ")
            await session.close(code=4002, reason=MARKUP)

        await page.route_web_socket("**/echo", refuse)
        await page.route_web_socket("**/shell", say_and_close)
        await page.goto(demo)
        await page.click("#echo-toggle")
        await page.click("#shell-toggle")

        async def told() -> bool:
            said = [await page.inner_text(f"#{part}-screen") for part in ("echo", "shell")]
            return f"refused: 4001 {MARKUP}" in said[0] and f"[closed: 4002 {MARKUP}]" in said[1]

        await eventually_async(told, 10, "both streams are over, and say why")
        assert await page.inner_text("#refusal-reason") == MARKUP
        assert (await page.inner_text("#log")).count(f"\N{LEFT DOUBLE QUOTATION MARK}{MARKUP}") == 2
        assert await page.locator(".peer, [onerror]").count() == 0
        assert await page.evaluate("document.stolen") is None


@pytest.mark.real
async def test_of_a_proxy_that_died_the_page_says_nothing_but_that(tmp_path: Path) -> None:
    service, address = start(tmp_path, "--listen", "127.0.0.1:0")
    try:
        async with run_chromium() as browser:
            page = await browser.new_page()
            await page.goto(address)
            await taken(page, 0)
            await page.click("#fill")
            await taken(page, 12)

            async def red() -> bool:
                return await badges(page) == "This instance is full. Cluster is full"

            await eventually_async(red, 10, "the badges are red")
            service.stop(30)

            async def told() -> bool:
                return (await page.inner_text("#silent")).startswith("The proxy does not answer")

            await eventually_async(told, 20, "the page says so")
            await eventually_async(lambda: unknown(page), 10, "the number is not shown any more")
            assert await badges(page) == ""
            await page.click("#ask")
            await eventually_async(
                lambda: page.is_visible("#log >> text=no answer"), 10, "the gate does not answer either"
            )
    finally:
        service.stop(30)


@pytest.mark.real
async def test_a_slot_is_a_button_in_a_list(demo: str) -> None:
    async with run_chromium() as browser:
        page = await browser.new_page()
        await page.goto(demo)
        await page.click("[data-open='1']")
        await taken(page, 1)
        slots = page.get_by_role("list", name="Slots")
        assert await slots.get_by_role("listitem").count() == 12
        await slots.get_by_role("button", name="Session 1: press to close it").press("Enter")
        await taken(page, 0)


@pytest.mark.real
async def test_a_pool_of_hundreds_fits_the_page_and_fills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASCULE_WEBSOCKETPROXY__MAXSESSIONSPERAPP", "200")
    service, address = start(tmp_path, "--listen", "127.0.0.1:0")
    try:
        async with run_chromium() as browser:
            page = await browser.new_page(viewport={"width": 1280, "height": 1000})
            await page.goto(address)
            await taken(page, 0)
            assert await page.locator("#slots > *").count() == 200
            box = await page.locator("#fill").bounding_box()
            assert box is not None
            assert box["y"] < 600, "the buttons are below the fold"
            await page.click("#fill")
            await taken(page, 200, 60)
    finally:
        status = service.stop(30)
    assert status == 0, service.said()


@pytest.mark.parametrize("field", ["listen", "admin"])
def test_the_demo_listens_where_a_browser_can_open_it(field: str) -> None:
    loaded = load((), {}, {field: "unix:/run/demo.sock"})
    with pytest.raises(ConfigError, match=f'{field}: found "unix:/run/demo.sock"; allowed: "host:port"'):
        run(loaded)
