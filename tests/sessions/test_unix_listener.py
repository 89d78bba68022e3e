"""Both listeners at Unix sockets, in front of an upstream at a third, with either build of the hot path."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import stat
import tempfile
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.bascule import RunningBascule, run_bascule
from tests.support.frames import BINARY, CLOSE, KEY, close
from tests.support.proctree import gateway, kill
from tests.support.rawclient import RawClient, connected, upgrade
from tests.support.rawupstream import RawUpstream, run_upstream
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.rawclient import Answer, Clients
    from tests.support.rawupstream import Call

MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bascule-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def upstream(folder: Path) -> Iterator[RawUpstream]:
    with run_upstream(path=folder / "app.sock") as running:
        yield running


def configured(folder: Path, upstream: RawUpstream, **more: Any) -> dict[str, Any]:
    return {
        "listen": f"unix:{folder}/public.sock",
        "admin": f"unix:{folder}/admin.sock",
        "trustedProxies": ["unix:"],
        "routes": [{"name": "all", "path": "/", "upstream": upstream.url}],
        "forwarders": {"count": 1},
        "limits": {"refusalHoldMax": 0, "closingHandshakeTimeout": "1s"},
        **more,
    }


@pytest.fixture(scope="module", params=["compiled", "pure"])
def bascule(
    request: pytest.FixtureRequest,
    upstream: RawUpstream,
    folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningBascule]:
    env = {"BASCULE_PURE": "1"} if request.param == "pure" else {}
    home = tmp_path_factory.mktemp("bascule")
    with run_bascule(home, configured(folder, upstream), env=env) as running:
        yield running
    assert sorted(path.name for path in folder.iterdir()) == ["app.sock"], "its files are gone"


@pytest.fixture
def client(bascule: RunningBascule, clients: Clients) -> RawClient:
    return clients(bascule.public_url)


def ask(url: str, target: str, *lines: str) -> Answer:
    """Ask for something at a socket."""
    with connected(url) as asking:
        asking.send("\r\n".join((f"GET {target} HTTP/1.1", "Host: localhost", *lines, "", "")).encode())
        answer = asking.head()
        if answer.value(b"Content-Length") is None:
            return answer
        size = int(answer.value(b"Content-Length") or b"0")
        asking.until(lambda data: len(data) >= size, "a body")
        return type(answer)(answer.status, answer.reason, answer.fields, asking.buffer[:size])


def sessions(bascule: RunningBascule) -> list[dict[str, Any]] | None:
    """Return the live sessions; ``None`` while no gateway is there to say."""
    try:
        answer = ask(bascule.admin_url, "/sessions")
    except (OSError, AssertionError):
        return None
    found: list[dict[str, Any]] = json.loads(answer.body)["sessions"]
    return found


def _clients(bascule: RunningBascule) -> list[str]:
    return [row["client"] for row in sessions(bascule) or []]


def works(client: RawClient, payload: bytes = b"still there") -> bool:
    sending = threading.Thread(target=client.say, args=(payload, BINARY))
    sending.start()  # its echo comes while it is sent
    said = client.reply()
    sending.join()
    return said.payload == payload


def test_it_says_where_it_listens_and_who_may_connect(bascule: RunningBascule, folder: Path) -> None:
    (line,) = bascule.events("listening")
    assert (line["public"], line["admin"]) == (f"unix:{folder}/public.sock", f"unix:{folder}/admin.sock")
    assert not {"open", "status_page", "redirect"} & line.keys(), "no browser opens them"
    modes = [stat.S_IMODE((folder / name).stat().st_mode) for name in ("public.sock", "admin.sock")]
    assert modes == [0o660, 0o600]


def test_frames_of_every_size_pass_both_ways(client: RawClient) -> None:
    client.open(b"/")
    for size in (0, 125, 65536, 300_000, MEBIBYTE, 5 * MEBIBYTE):
        assert works(client, os.urandom(size))
    client.send(close(4321, b"enough", key=KEY))
    ended = client.reply()
    assert (ended.opcode, ended.code, ended.reason) == (CLOSE, 4321, b"enough")
    assert client.rest() == b""


def test_an_upgrade_that_comes_in_two_parts_is_one(client: RawClient) -> None:
    head = upgrade(b"/parts")
    client.send(head[:20])
    assert client.silent(0.2)
    client.send(head[20:])
    assert client.head().status == 101
    assert works(client)


def test_the_client_is_whom_the_proxy_at_the_socket_names(
    bascule: RunningBascule, upstream: RawUpstream, client: RawClient
) -> None:
    client.open(
        b"/named", b"X-Forwarded-For: 203.0.113.9", b"X-Forwarded-Proto: https", b"Origin: https://front"
    )
    eventually(lambda: _clients(bascule) == ["203.0.113.9"], 10, "it is listed")
    (call,) = upstream.calls_for(b"/named")[-1:]
    assert call.value(b"X-Forwarded-For") == b"203.0.113.9"
    assert call.value(b"X-Real-IP") == b"203.0.113.9"
    assert call.value(b"X-Forwarded-Proto") == b"https"


@pytest.mark.parametrize("name", [None, b"\0client", "10.0.0.1"], ids=["none", "abstract", "a file"])
def test_a_peer_that_names_nobody_is_called_by_its_kind_however_it_is_bound(
    bascule: RunningBascule,
    upstream: RawUpstream,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: bytes | str | None,
) -> None:
    def script(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    upstream.scripts[b"/plain"] = script
    monkeypatch.chdir(tmp_path)
    for target in (b"/bound", b"/plain"):
        raw = socket.socket(socket.AF_UNIX)
        if name is not None:
            Path("10.0.0.1").unlink(missing_ok=True)
            raw.bind(name)
        raw.connect(str(folder / "public.sock"))
        with closing(RawClient(raw)) as bound:
            if target == b"/plain":
                bound.send(b"GET /plain HTTP/1.1\r\nHost: front\r\n\r\n")
                assert bound.head().status == 200
            else:
                bound.open(target)
                eventually(lambda: _clients(bascule) == ["unix:"], 10, "it is listed")
        (call,) = upstream.calls_for(target)[-1:]
        assert call.value(b"X-Forwarded-For") is None
        assert call.value(b"X-Real-IP") is None
        assert call.value(b"X-Forwarded-Proto") == b"http"
        eventually(lambda: sessions(bascule) == [], 10, "it has ended")


def test_the_admin_listener_answers_to_this_hosts_names_only(bascule: RunningBascule) -> None:
    assert ask(bascule.admin_url, "/healthz").status == 200
    assert b"ws_connection_in_flight_count" in ask(bascule.admin_url, "/metrics").body
    with connected(bascule.admin_url) as asking:
        asking.send(b"GET /sessions HTTP/1.1\r\nHost: bascule.example\r\n\r\n")
        assert asking.head().status == 421


def test_a_second_proxy_takes_nothing_from_the_first(
    bascule: RunningBascule, upstream: RawUpstream, folder: Path, tmp_path: Path, client: RawClient
) -> None:
    with (
        pytest.raises(RuntimeError, match=r"admin: cannot listen on unix:.*Address already in use"),
        run_bascule(tmp_path, configured(folder, upstream)),
    ):
        pass
    client.open(b"/")
    assert works(client)


def test_sessions_outlive_a_gateway_and_a_reload(bascule: RunningBascule) -> None:
    with connected(bascule.public_url) as client:
        client.open(b"/")
        assert works(client)
        kill(gateway(bascule))
        assert works(client)
        eventually(lambda: len(sessions(bascule) or []) == 1, 20, "another gateway counts it")
        assert bascule.reload(websocketProxy={"maxSessionsPerApp": 77})
        eventually(lambda: b"ws_pool_max_connections 77" in _metrics(bascule), 20, "another serves")
        assert works(client)
        with connected(bascule.public_url) as another:
            another.open(b"/")
            assert works(another)
        assert not bascule.reload(listenMode="0666")
    bascule.change(listenMode=None)


def _metrics(bascule: RunningBascule) -> bytes:
    try:
        return ask(bascule.admin_url, "/metrics").body.replace(b'{mp_scope="application"}', b"")
    except (OSError, AssertionError):
        return b""


def test_what_was_killed_leaves_files_that_the_next_one_replaces(
    upstream: RawUpstream, folder: Path, tmp_path: Path
) -> None:
    own = folder / "own"
    own.mkdir()
    try:
        for number in range(2):
            home = tmp_path / str(number)
            home.mkdir()
            with run_bascule(home, configured(own, upstream), status=-9) as running:
                with connected(running.public_url) as client:
                    client.open(b"/")
                    assert works(client)
                os.kill(running.process.pid, signal.SIGKILL)
                eventually(lambda: _refuses(own / "admin.sock"), 20, "its children have left")
            assert sorted(path.name for path in own.iterdir()) == ["admin.sock", "public.sock"]
    finally:
        for path in own.iterdir():
            path.unlink()
        own.rmdir()


def _refuses(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as asking:
        return asking.connect_ex(str(path)) == errno.ECONNREFUSED


def test_a_front_that_is_not_trusted_is_the_client_and_says_nothing_of_the_browser(
    upstream: RawUpstream, folder: Path, tmp_path: Path
) -> None:
    own = folder / "own"
    own.mkdir()
    try:
        with run_bascule(tmp_path, configured(own, upstream, trustedProxies=[])) as running:
            with connected(running.public_url) as client:
                client.open(b"/untrusted", b"X-Forwarded-For: 203.0.113.9")
                eventually(lambda: _clients(running) == ["unix:"], 10, "it is listed")
                (call,) = upstream.calls_for(b"/untrusted")
                assert call.value(b"X-Forwarded-For") is None
            with connected(running.public_url) as client:
                client.send(upgrade(b"/", b"X-Forwarded-Proto: https", b"Origin: https://front"))
                assert client.head().status == 403
        assert list(own.iterdir()) == []
    finally:
        own.rmdir()
