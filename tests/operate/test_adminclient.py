"""How the admin listener of a proxy is found and asked."""

from __future__ import annotations

import re
import socket
import threading
from typing import TYPE_CHECKING, Any

import click
import pytest
from aiohttp import web

from bascule.admin.api import Administration
from bascule.configuration.certificate import listener_context
from bascule.configuration.config import AdminTls
from bascule.configuration.endpoints import Endpoint, SocketFile
from bascule.operate import adminclient
from bascule.operate.adminclient import AdminClient
from tests.admin.fake_view import FakeView, config
from tests.admin.support import served_in_a_thread
from tests.support.authority import Authority, make_authority

if TYPE_CHECKING:
    import ssl
    from contextlib import AbstractContextManager
    from pathlib import Path


def serving(
    app: web.Application, host: str = "127.0.0.1", context: ssl.SSLContext | None = None
) -> AbstractContextManager[Any]:
    """Serve at a free port of an address; yields what the socket is bound to."""
    return served_in_a_thread(app, lambda runner: web.TCPSite(runner, host, 0, ssl_context=context))


def bascule(**changes: Any) -> web.Application:
    return Administration(FakeView(config(**changes))).app


def draining(**changes: Any) -> bool:
    return bool(AdminClient(config(**changes)).ask("POST", "/drain")["draining"])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "0::0"])
def test_a_listener_at_all_addresses_is_asked_at_the_loopback(host: str) -> None:
    with serving(bascule(admin=Endpoint(host, 0), admin_token="t" * 32), host) as bound:
        assert draining(admin=Endpoint(host, bound[1]), admin_token="t" * 32)


@pytest.mark.parametrize("token", ["t" * 32, "ein grüner Schlüssel", "ключ"])
def test_the_token_of_the_configuration_goes_along(token: str) -> None:
    with serving(bascule(admin_token=token)) as bound:
        there = Endpoint("127.0.0.1", bound[1])
        assert draining(admin=there, admin_token=token)
        with pytest.raises(
            click.ClickException, match=r"^This call needs the admin token.*BASCULE_ADMINTOKEN"
        ):
            draining(admin=there)


def test_a_listener_is_asked_more_than_once() -> None:
    with serving(bascule()) as bound:
        client = AdminClient(config(admin=Endpoint("127.0.0.1", bound[1])))
        assert client.ask("GET", "/sessions", {"user": "a & b", "limit": "5"})["total"] == 0
        with pytest.raises(click.ClickException, match="There is nothing at this path"):
            client.ask("GET", "/nothing")
        assert client.ask("GET", "/status")["ready"]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return make_authority(tmp_path / "ours")


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
def test_a_unix_socket_is_asked(tmp_path: Path, authority: Authority, is_tls: bool) -> None:
    shown = authority.issue("proxy")
    tls = AdminTls(certificate=shown.certificate, key=shown.key) if is_tls else AdminTls()
    where = SocketFile(str(tmp_path / "admin.sock"))
    context = listener_context(tls)
    app = bascule(admin=where)
    with served_in_a_thread(app, lambda runner: web.UnixSite(runner, where.path, ssl_context=context)):
        assert draining(admin=where, admin_tls=tls)
    with pytest.raises(click.ClickException, match=re.escape(f"{where}: Connection refused (")):
        draining(admin=where, admin_tls=tls)


def test_over_tls_the_configured_certificate_is_trusted_for_any_name_and_no_other(
    authority: Authority,
) -> None:
    shown = authority.issue("elsewhere", names="DNS:elsewhere.example.org")
    other = authority.issue("other")
    tls = AdminTls(certificate=shown.certificate, key=shown.key, client_ca=authority.ca)
    with serving(bascule(), context=listener_context(tls)) as bound:
        there = Endpoint("127.0.0.1", bound[1])
        assert draining(admin=there, admin_tls=tls)
        with pytest.raises(click.ClickException, match="certificate verify failed"):
            draining(admin=there, admin_tls=AdminTls(certificate=other.certificate, key=other.key))
        with pytest.raises(click.ClickException, match=re.escape(f"{there}: ")):
            draining(admin=there)


def test_a_name_that_does_not_resolve_is_told_in_words() -> None:
    client = AdminClient(config(admin=Endpoint("nobody.invalid", 8081)))
    with pytest.raises(click.ClickException, match=r"nobody\.invalid:8081: (?!Unknown error)[A-Z][a-z ]+ \("):
        client.ask("GET", "/status")


def test_a_port_that_the_kernel_chose_must_be_said() -> None:
    with pytest.raises(click.ClickException, match="--admin HOST:PORT says which"):
        AdminClient(config(admin=Endpoint("127.0.0.1", 0)))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"text": "<html>"}, "HTTP 200: <html>"),
        ({"text": "[1]"}, "HTTP 200: [1]"),
        ({"status": 404, "text": "\x1b[2Jnothing\n"}, "HTTP 404: \\x1b[2Jnothing"),
        ({"status": 302, "headers": {"Location": "http://elsewhere/"}}, "HTTP 302: "),
        ({"status": 500, "text": '{"detail": 1}'}, 'HTTP 500: {"detail": 1}'),
        ({"status": 500, "text": "x" * 5000}, f"HTTP 500: {'x' * 200}…"),
    ],
)
def test_a_server_that_is_no_bascule_is_named_as_such(answer: dict[str, Any], said: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(**answer)

    app = web.Application()
    app.router.add_get("/status", handler)
    with serving(app) as bound:
        client = AdminClient(config(admin=Endpoint("127.0.0.1", bound[1])))
        with pytest.raises(click.ClickException) as failed:
            client.ask("GET", "/status")
    told = f"127.0.0.1:{bound[1]}: no admin listener of Bascule answers there, but {said} ("
    assert failed.value.message.startswith(told)


def test_a_listener_that_does_not_answer_is_waited_for_so_long_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adminclient, "_PATIENCE", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        client = AdminClient(config(admin=Endpoint(*deaf.getsockname())))
        with pytest.raises(click.ClickException, match=r"no answer within 0\.05 s"):
            client.ask("GET", "/status")


def test_something_that_speaks_no_http_is_told_and_no_traceback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_greet, args=(server,))
        thread.start()
        client = AdminClient(config(admin=Endpoint(*server.getsockname())))
        with pytest.raises(click.ClickException, match=r"SSH-2\.0-x"):
            client.ask("GET", "/status")
        thread.join(10)


def _greet(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.sendall(b"SSH-2.0-x\r\n")
        connection.recv(1000)
