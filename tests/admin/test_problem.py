"""Faults of ours on the admin listener: told without a word of the request."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from structlog.testing import capture_logs

from bascule.admin.problem import problems

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.admin.support import Client

SECRET = "TOPSECRET"


async def _fail(request: web.Request) -> web.StreamResponse:
    raise ValueError(await request.text())


async def _fail_later(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    await answer.write(b"a")
    raise ValueError(await request.text())


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    app = web.Application(middlewares=[problems])
    app.router.add_post("/", _fail)
    app.router.add_post("/later", _fail_later)
    async with TestClient(TestServer(app)) as client:
        yield client


async def test_a_fault_of_ours_is_a_problem_and_one_line_that_says_where(client: Client) -> None:
    with capture_logs() as lines:
        answer = await client.post("/", data=SECRET)
    assert (answer.status, answer.content_type) == (500, "application/problem+json")
    assert SECRET not in await answer.text()
    (line,) = lines
    assert (line["log_level"], line["error"]) == ("error", "ValueError")
    assert "in _fail" in line["stack"]
    assert SECRET not in str(line)


async def test_an_answer_that_cannot_be_finished_is_visibly_broken(client: Client) -> None:
    with capture_logs() as lines, contextlib.suppress(aiohttp.ClientError):
        answer = await client.post("/later", data=SECRET)
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    assert [line["error"] for line in lines] == ["ValueError"]
