import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType, web
from aiohttp.test_utils import TestClient, TestServer

from bascule.demo.upstream import build_app
from tests.support.browser import run_chromium
from tests.support.waiting import eventually_async

Client = TestClient[web.Request, web.Application]


@contextlib.asynccontextmanager
async def upstream(with_tools: bool = False) -> AsyncIterator[Client]:
    async with TestClient(TestServer(build_app("http://127.0.0.1:9/", 12, with_tools))) as client:
        yield client


async def until(socket: ClientWebSocketResponse, end: str) -> str:
    text = ""
    while not text.endswith(end):
        text += await socket.receive_str(timeout=5)
    return text


async def test_the_page_and_its_parts_are_served_under_a_strict_policy() -> None:
    async with upstream() as client:
        for path in ("/", "/demo.js", "/demo.css", "/icon.svg"):
            answer = await client.get(path)
            assert answer.status == 200
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        about = await (await client.get("/about.json")).json()
        assert about["admin"] == "http://127.0.0.1:9/"
        assert about["cap"] == 12


async def test_with_tools_the_page_leads_to_them() -> None:
    async with upstream(with_tools=True) as client:
        page = await (await client.get("/")).text()
        assert "/lab/lab" in page
        assert "/app/" in page


@pytest.mark.real
async def test_the_page_with_tools_says_when_the_proxy_does_not_answer_and_goes_on_asking() -> None:
    problem: dict[str, object] = {"status": 502, "title": "Bad Gateway"}
    answers = [{"instance": {"inFlight": 3, "max": 24}, "cluster": {}}]
    app = build_app("http://127.0.0.1:9/", 24, with_tools=True)

    async def capacity(_: web.Request) -> web.Response:
        return web.json_response(answers[0] if answers else problem)

    app.router.add_get("/.bascule/capacity", capacity)
    async with TestServer(app) as server, run_chromium() as browser:
        page = await browser.new_page()

        async def shows(figure: str, words: str) -> None:
            async def look() -> bool:
                return [await page.inner_text(at) for at in ("#in-flight", "#silent")] == [figure, words]

            await eventually_async(look, 10, f"the page shows {figure} and says {words!r}")

        await page.goto(str(server.make_url("/")))
        await shows("3", "")
        known = answers.pop()
        await shows("\N{EN DASH}", "The proxy does not answer; trying again.")
        answers.append(known)
        await shows("3", "")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 5_000_000])
async def test_echo_sends_back_text_and_bytes_of_any_size(size: int) -> None:
    async with upstream() as client, client.ws_connect("/echo", max_msg_size=0) as socket:
        await socket.send_str("x" * size)
        assert await socket.receive_str(timeout=10) == "x" * size
        await socket.send_bytes(b"\x00" * size)
        assert await socket.receive_bytes(timeout=10) == b"\x00" * size


async def test_the_shell_greets_answers_and_prompts() -> None:
    async with upstream() as client, client.ws_connect("/shell") as socket:
        assert "help" in await until(socket, "$ ")
        await socket.send_str("echo one two")
        assert await until(socket, "$ ") == "one two\n$ "


async def test_the_shell_knows_who_the_proxy_says_one_is() -> None:
    async with (
        upstream() as client,
        client.ws_connect("/shell", headers={"X-Forwarded-For": "10.9.8.7"}) as socket,
    ):
        await until(socket, "$ ")
        await socket.send_str("whoami")
        assert await until(socket, "$ ") == "10.9.8.7\n$ "


async def test_control_c_stops_what_runs_and_the_shell_lives_on() -> None:
    async with upstream() as client, client.ws_connect("/shell") as socket:
        await until(socket, "$ ")
        await socket.send_str("clock")
        await until(socket, "\n")
        await socket.send_str("\x03")
        assert (await until(socket, "$ ")).endswith("^C\n$ ")
        await socket.send_str("echo still here")
        assert await until(socket, "$ ") == "still here\n$ "


async def test_lines_run_one_after_the_other() -> None:
    async with upstream() as client, client.ws_connect("/shell") as socket:
        await until(socket, "$ ")
        await socket.send_str("sleep 0.05")
        await socket.send_str("echo second")
        assert await until(socket, "second\n$ ") == "$ second\n$ "


async def test_control_c_stops_what_runs_though_another_line_waits_behind_it() -> None:
    async with upstream() as client, client.ws_connect("/shell") as socket:
        await until(socket, "$ ")
        await socket.send_str("clock")
        await until(socket, "\n")
        await socket.send_str("echo typed meanwhile")
        await socket.send_str("\x03")
        async with asyncio.timeout(5):
            assert (await until(socket, "$ ")).endswith("^C\n$ ")


async def test_lines_typed_ahead_run_in_order() -> None:
    async with upstream() as client, client.ws_connect("/shell") as socket:
        await until(socket, "$ ")
        for word in ("one", "two", "three"):
            await socket.send_str(f"echo {word}")
        assert await until(socket, "three\n$ ") == "one\n$ two\n$ three\n$ "


async def test_the_shell_closes_with_the_code_it_is_told() -> None:
    async with upstream() as client, client.ws_connect("/shell") as socket:
        await until(socket, "$ ")
        await socket.send_str("close 4321")
        message = await socket.receive(timeout=5)
        assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, 4321, "as you wish")


async def test_leaving_in_the_middle_of_a_flood_disturbs_nobody() -> None:
    async with upstream() as client:
        async with client.ws_connect("/shell") as socket:
            await until(socket, "$ ")
            await socket.send_str("flood 100000")
            await socket.receive_str(timeout=5)
        async with client.ws_connect("/shell") as socket:
            await until(socket, "$ ")
