"""A gateway that got no core for longer than a deadline: whoever has spoken in time is heard."""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.certificates import make_certificate
from tests.support.frames import TEXT
from tests.support.proctree import gateway, kill
from tests.support.rawclient import RawClient, connect, upgrade
from tests.support.rawupstream import Call, echo_frames, run_upstream, switch
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Start
    from tests.support.bascule import RunningBascule
    from tests.support.certificates import Certificate

    Run = Callable[..., RunningBascule]

LONG = 2.5
"""Seconds without a core: more than twice any deadline of these tests, less than the watchdog's."""

DEADLINES = {
    "handshakeTimeout": "1s",
    "connectTimeout": "1s",
    "upstreamHandshakeTimeout": "1s",
    "httpUpstreamTimeout": "1s",
}


@contextlib.contextmanager
def starved(proxy: RunningBascule) -> Iterator[None]:
    """Let the gateway stand still for `LONG`; what the block does, it does at the beginning of that."""
    kill(pid := gateway(proxy), signal.SIGSTOP)
    try:
        yield
        time.sleep(LONG)  # that nothing runs meanwhile is what is tested
    finally:
        kill(pid, signal.SIGCONT)


class Answering:
    """A script that answers when it is told to.

    Attributes:
        asked: A request has come.
        go_on: Answer.
    """

    def __init__(self) -> None:
        self.asked, self.go_on = threading.Event(), threading.Event()

    def __call__(self, call: Call) -> None:
        """Wait, and answer."""
        self.asked.set()
        assert self.go_on.wait(10)
        if call.value(b"Upgrade") is None:
            call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        else:
            switch(call)
            echo_frames(call)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Make one."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def run(bascule: Start) -> Run:
    """Start a proxy with short deadlines in front of an upstream."""

    def start(upstream: str, **config: Any) -> RunningBascule:
        route = {"name": "all", "path": "/", "upstream": upstream}
        return bascule({"routes": [route], "limits": DEADLINES, "forwarders": {"count": 1}, **config})

    return start


def says_and_hears(client: RawClient) -> bool:
    """Tell whether there is a session."""
    answer = client.head()
    if answer.status != 101:
        return False
    client.say(b"well?")
    said = client.frame()
    return (said.opcode, said.payload) == (TEXT, b"well?")


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_an_upstream_that_has_answered_an_upgrade_is_heard(
    run: Run, certificate: Certificate, secure: bool
) -> None:
    with run_upstream(certificate.server() if secure else None) as upstream:
        upstream.scripts[b"/"] = script = Answering()
        proxy = run(upstream.url, upstreamTls={"ca": str(certificate.certificate)})
        with contextlib.closing(connect(proxy.public_url)) as client:
            client.send(upgrade())
            assert script.asked.wait(10)
            with starved(proxy):
                script.go_on.set()
            assert says_and_hears(client)


def test_an_upstream_that_has_accepted_is_asked(run: Run) -> None:
    calls: list[Call] = []

    def accept() -> None:
        while not calls:
            with listener.accept()[0] as connection:
                call = Call(connection)
                if call.read_head():  # otherwise it is one that only filled the backlog
                    calls.append(call)
                    switch(call)
                    echo_frames(call)

    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        fillers = [stack.enter_context(socket.socket()) for _ in range(8)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        proxy = run(f"http://127.0.0.1:{listener.getsockname()[1]}")
        client = stack.enter_context(contextlib.closing(connect(proxy.public_url)))
        client.send(upgrade())
        eventually(lambda: proxy.in_flight == 1, 1, "it is dialled")
        accepting = threading.Thread(target=accept)
        with starved(proxy):  # meanwhile the kernel asks again
            for filler in fillers:
                filler.close()
            accepting.start()
        assert says_and_hears(client)
        client.close()
        accepting.join(10)


def test_an_upstream_that_has_answered_a_plain_request_is_heard(run: Run) -> None:
    with run_upstream() as upstream:
        upstream.scripts[b"/"] = script = Answering()
        proxy = run(upstream.url)
        with contextlib.closing(connect(proxy.public_url)) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: front\r\n\r\n")
            assert script.asked.wait(10)
            with starved(proxy):
                script.go_on.set()
            answer = client.answer()
            assert (answer.status, answer.body) == (200, b"ok")


def test_an_upload_that_has_gone_on_is_taken(run: Run) -> None:
    with run_upstream() as upstream:
        upstream.scripts[b"/"] = script = Answering()
        proxy = run(upstream.url)
        with contextlib.closing(connect(proxy.public_url)) as client:
            client.send(b"PUT / HTTP/1.1\r\nHost: front\r\nContent-Length: 8\r\n\r\nhalf")
            assert script.asked.wait(10)
            with starved(proxy):
                client.send(b"more")
                script.go_on.set()
            answer = client.answer()
            assert (answer.status, answer.body) == (200, b"ok")


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHo"], ids=["nothing", "a part"])
def test_a_browser_that_has_sent_its_head_is_answered(run: Run, begun: bytes) -> None:
    whole = b"GET / HTTP/1.1\r\nHost: front\r\n\r\n"
    with run_upstream() as upstream:
        upstream.scripts[b"/"] = script = Answering()
        script.go_on.set()
        proxy = run(upstream.url)
        with contextlib.closing(connect(proxy.public_url)) as client:
            client.send(begun)
            time.sleep(0.2)  # that it has been read, nothing tells
            with starved(proxy):
                client.send(whole[len(begun) :])
            assert client.answer().status == 200


def test_a_browser_that_has_gone_on_with_tls_is_answered(run: Run, certificate: Certificate) -> None:
    with run_upstream() as upstream:
        upstream.scripts[b"/"] = script = Answering()
        script.go_on.set()
        proxy = run(upstream.url, tls=certificate.block())
        where = proxy.public_url.removeprefix("http://").split(":")
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = certificate.client().wrap_bio(incoming, outgoing, server_hostname="localhost")
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        hello = outgoing.read()
        with socket.create_connection((where[0], int(where[1])), 10) as connection:
            connection.sendall(hello[:20])
            time.sleep(0.2)  # that it has been read, nothing tells
            with starved(proxy):
                connection.sendall(hello[20:])
            assert connection.recv(16384), "the server's part of the handshake"


def test_a_balancer_that_has_said_for_whom_it_comes_is_answered(run: Run) -> None:
    header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"
    with run_upstream() as upstream:
        upstream.scripts[b"/"] = script = Answering()
        script.go_on.set()
        proxy = run(upstream.url, proxyProtocolFrom=["127.0.0.1"])
        with contextlib.closing(connect(proxy.public_url)) as client:
            client.send(header[:9])
            time.sleep(0.2)  # that it has been read, nothing tells
            with starved(proxy):
                client.send(header[9:] + b"GET / HTTP/1.1\r\nHost: front\r\n\r\n")
            assert client.answer().status == 200


def test_an_upstream_whose_refusal_goes_on_is_passed_on(run: Run) -> None:
    go_on, begun = threading.Event(), threading.Event()

    def refuse(call: Call) -> None:
        call.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 10\r\n\r\nhello")
        begun.set()
        assert go_on.wait(10)
        call.send(b"world")

    with run_upstream() as upstream:
        upstream.scripts[b"/"] = refuse
        proxy = run(upstream.url)
        with contextlib.closing(connect(proxy.public_url)) as client:
            client.send(upgrade())
            client.until(lambda data: data.endswith(b"hello"), "the first half")
            with starved(proxy):
                go_on.set()
            assert client.answer().body == b"helloworld"
