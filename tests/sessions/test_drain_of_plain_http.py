"""A stop lets downloads, uploads and refusals come to their end within ``drain.timeout``, like sessions."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.support import slowreader
from tests.support.bascule import run_bascule
from tests.support.rawclient import upgrade
from tests.support.waiting import eventually, quickest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.bascule import RunningBascule
    from tests.support.rawclient import Clients, RawClient
    from tests.support.rawupstream import Call, RawUpstream

REQUEST = b"GET /slow HTTP/1.1\r\nHost: front\r\n\r\n"
LEAVING = 3.5
"""Seconds: more than the processes of a proxy without anything to do take to leave."""
SOON = 10.0
"""Seconds in which they leave on a busy machine: fewer than a drain may take here beyond `LEAVING`."""


def _stops_behind(bascule: RunningBascule, client: RawClient, go_on: threading.Event) -> None:
    """Stop the proxy: it stays until what is under way has come to its end, and not longer."""
    bascule.process.process.terminate()
    time.sleep(LEAVING)
    assert bascule.process.process.poll() is None
    go_on.set()
    assert client.rest().endswith(b"halfhalf")
    assert bascule.process.process.wait(SOON) == 0


def _config(upstream: RawUpstream, timeout: str) -> dict[str, object]:
    return {
        "routes": [{"name": "all", "path": "/", "upstream": upstream.url}],
        "forwarders": {"count": 1},
        "drain": {"timeout": timeout},
    }


@contextlib.contextmanager
def without_end(upstream: RawUpstream, path: bytes, beginning: bytes) -> Iterator[None]:
    """Let an upstream answer with this, and then with nothing more."""
    over = threading.Event()

    def begin(call: Call) -> None:
        if beginning:
            call.send(beginning)
        over.wait(15)

    upstream.scripts[path] = begin
    try:
        yield
    finally:
        over.set()


@pytest.mark.parametrize("head_sent", [True, False])
def test_an_answer_under_way_is_finished(
    upstream: RawUpstream, clients: Clients, tmp_path: Path, head_sent: bool
) -> None:
    go_on = threading.Event()

    def slow(call: Call) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf"
        if head_sent:
            call.send(head)
        assert go_on.wait(15)
        call.send(b"half" if head_sent else head + b"half")

    upstream.scripts[b"/slow"] = slow
    calls = len(upstream.calls_for(b"/slow"))
    with run_bascule(tmp_path, _config(upstream, "20s")) as bascule:
        client = clients(bascule.public_url)
        client.send(REQUEST)
        if head_sent:
            assert client.head().status == 200
        eventually(lambda: len(upstream.calls_for(b"/slow")) > calls, 10, "the upstream is asked")
        _stops_behind(bascule, client, go_on)


def test_who_reads_slowly_has_the_whole_of_an_answer(upstream: RawUpstream, tmp_path: Path) -> None:
    config = {**_config(upstream, "20s"), "sockets": slowreader.SOCKETS}
    with (
        run_bascule(tmp_path, config) as bascule,
        slowreader.reading_slowly(bascule, upstream) as client,
    ):
        bascule.process.process.terminate()
        eventually(lambda: bascule.events("drain ends"), 10, "it drains")
        time.sleep(LEAVING)
        assert bascule.process.process.poll() is None
        assert len(client.rest()) == slowreader.SIZE
        assert bascule.process.process.wait(SOON) == 0


@pytest.mark.parametrize(
    ("request_", "begins", "shows_end"),
    [
        (b"GET /slow HTTP/1.1\r\nHost: front\r\n\r\n", True, True),
        (b"GET /slow HTTP/1.0\r\nHost: front\r\n\r\n", True, False),
        (REQUEST, False, False),
        (b"POST /slow HTTP/1.1\r\nHost: front\r\nContent-Length: 10\r\n\r\nhalf", False, False),
    ],
    ids=["stream", "stream to its end", "silence", "upload"],
)
def test_what_has_no_end_is_visibly_cut_and_the_stop_fits_into_its_timeout(
    upstream: RawUpstream,
    clients: Clients,
    tmp_path: Path,
    request_: bytes,
    begins: bool,
    shows_end: bool,
) -> None:
    def stop() -> float:
        calls = len(upstream.calls_for(b"/slow"))
        home = tmp_path / str(calls)
        home.mkdir()
        with run_bascule(home, _config(upstream, "2s")) as bascule:
            client = clients(bascule.public_url)
            client.send(request_)
            eventually(lambda: len(upstream.calls_for(b"/slow")) > calls, 10, "the upstream is asked")
            if begins:
                client.until(lambda data: b"data: 1" in data, "the answer has begun")
            before = time.monotonic()
            bascule.process.process.terminate()
            said = client.rest()
            assert bascule.process.process.wait(SOON) == 0
            took = time.monotonic() - before
        if shows_end:
            assert not client.was_reset, "a reset destroys what is not read yet"
            assert not said.endswith(b"0\r\n\r\n")
        else:
            assert client.was_reset, "a plain end may pass for the end of an answer"
        assert said.startswith(b"HTTP/1.1 200") if begins else said == b"", "nor is the client to blame"
        return took

    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"
    with without_end(upstream, b"/slow", head if begins else b""):
        # Waiting for those that were cut took 1.5 s more.
        assert quickest(stop, 2 + 1.4) < 2 + 1.4


def test_a_refusal_without_an_end_is_cut_by_a_reset(
    upstream: RawUpstream, clients: Clients, tmp_path: Path
) -> None:
    with (
        without_end(upstream, b"/refuses", b"HTTP/1.0 403 Forbidden\r\n\r\nhalf"),
        run_bascule(tmp_path, _config(upstream, "1s")) as bascule,
    ):
        client = clients(bascule.public_url)
        client.send(upgrade(b"/refuses"))
        client.until(lambda data: data.endswith(b"half"), "half of it")
        bascule.process.process.terminate()
        client.rest()
        assert bascule.process.process.wait(SOON) == 0
    assert client.was_reset


def test_a_refusal_that_is_being_relayed_is_finished(
    upstream: RawUpstream, clients: Clients, tmp_path: Path
) -> None:
    go_on = threading.Event()

    def refuse(call: Call) -> None:
        call.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 8\r\n\r\nhalf")
        assert go_on.wait(15)
        call.send(b"half")

    upstream.scripts[b"/refuses"] = refuse
    with run_bascule(tmp_path, _config(upstream, "20s")) as bascule:
        client = clients(bascule.public_url)
        client.send(upgrade(b"/refuses"))
        assert client.head().status == 403
        _stops_behind(bascule, client, go_on)


def test_a_refusal_that_is_cut_at_the_timeout_is_no_aborted_session(
    upstream: RawUpstream, clients: Clients, tmp_path: Path
) -> None:
    with (
        without_end(upstream, b"/refuses", b"HTTP/1.1 403 Forbidden\r\nContent-Length: 8\r\n\r\nhalf"),
        run_bascule(tmp_path, _config(upstream, "2s")) as bascule,
    ):
        client = clients(bascule.public_url)
        client.send(upgrade(b"/refuses"))
        assert client.head().status == 403
        bascule.process.process.terminate()
        assert bascule.process.process.wait(10) == 0
        (end,) = bascule.events("drain ends")
    assert (end["natural"], end["closed"], end["aborted"]) == (0, 0, 0)
