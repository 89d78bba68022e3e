"""Connections to upstreams: several addresses, TLS, options, Unix sockets, places that are off limits."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from bascule.configuration.certificate import upstream_context
from bascule.configuration.config import Config, Limits, Sockets
from bascule.gateway.connections.connecting import full_socket
from bascule.gateway.connections.patience import Patience
from bascule.gateway.upstreams import dialler as connections
from bascule.gateway.upstreams.dialler import Dialler, NoRoom, Unreachable
from bascule.gateway.upstreams.fence import Fence
from bascule.gateway.upstreams.handshake import Answered
from bascule.gateway.upstreams.resolver import REMEMBER
from bascule.policy.routes import UpstreamAddress
from tests.gateway.upstreams.dialling import OFFER, REFUSING, SILENT, SPEAKING, dialler_of, opening, refuse
from tests.gateway.upstreams.fenced import HERE, at_home, nobody_came, resolve_to
from tests.support.certificates import make_certificate
from tests.support.fewdescriptors import no_descriptors_left
from tests.support.mutual import asking_for_certificates
from tests.support.notls import NO_TLS, without_tls
from tests.support.processes import reserve_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def lacking(monkeypatch: pytest.MonkeyPatch, lacked: socket.AddressFamily) -> None:
    """Let this host have no addresses of a family."""
    make = Dialler._socket

    def socket_of(dialler: Dialler, family: socket.AddressFamily) -> socket.socket:
        if family is lacked:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        return make(dialler, family)

    monkeypatch.setattr(Dialler, "_socket", socket_of)


async def opened(port: int, **blocks: Any) -> Answered:
    """Return what the upstream answers, its connection still open."""
    config = Config(limits=Limits(connect_timeout=1.0, upstream_handshake_timeout=5.0), **blocks)
    answered = await opening(
        dialler_of(config), UpstreamAddress("http", "apps", port, b"apps"), b"/", [], OFFER
    )
    assert isinstance(answered, Answered)
    return answered


async def dial(port: int) -> int:
    """Return the status that the upstream answers."""
    answered = await opened(port)
    answered.leg.close()
    return answered.head.status


async def test_an_address_that_says_nothing_leaves_time_for_the_next(
    monkeypatch: pytest.MonkeyPatch, silent_port: int
) -> None:
    resolve_to(monkeypatch, SILENT, SPEAKING)
    async with await asyncio.start_server(refuse, SPEAKING, silent_port):
        for _ in range(2):  # the second time the name is known
            assert await dial(silent_port) == 404


@pytest.mark.parametrize(
    ("former", "problem"), [(REFUSING, "connect failed: ECONNREFUSED"), (SILENT, "connect timed out")]
)
async def test_an_upstream_that_has_moved_is_found_within_a_second(
    monkeypatch: pytest.MonkeyPatch, silent_port: int, former: str, problem: str
) -> None:
    """A pod that was started again has another address."""
    dialler = dialler_of(Config(limits=Limits(connect_timeout=0.1)))
    address = UpstreamAddress("http", "apps", silent_port, b"apps")
    resolve_to(monkeypatch, former)
    with pytest.raises(Unreachable, match=f"^{problem}$"):
        await opening(dialler, address, b"/", [], OFFER)
    resolve_to(monkeypatch, SPEAKING)
    now = asyncio.get_running_loop().time
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now() + 1.0)
    async with await asyncio.start_server(refuse, SPEAKING, silent_port):
        answered = await opening(dialler, address, b"/", [], OFFER)
        answered.leg.close()


@pytest.mark.parametrize("others", [[SPEAKING], [SILENT, SPEAKING]], ids=["one more", "two more"])
async def test_a_family_of_addresses_that_this_host_lacks_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch, silent_port: int, others: list[str]
) -> None:
    """As with the kernel's ``ipv6.disable=1``."""
    lacking(monkeypatch, socket.AF_INET6)
    resolve_to(monkeypatch, "::1", *others)
    async with await asyncio.start_server(refuse, SPEAKING, silent_port):
        for _ in range(2):
            assert await dial(silent_port) == 404


async def test_an_address_that_refuses_is_told_rather_than_a_family_that_this_host_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lacking(monkeypatch, socket.AF_INET6)
    resolve_to(monkeypatch, SPEAKING, "::1")
    with pytest.raises(Unreachable, match=r"^connect failed: ECONNREFUSED$"):
        await dial(reserve_port())


async def test_addresses_that_all_say_nothing_take_no_longer_than_one(
    monkeypatch: pytest.MonkeyPatch, silent_port: int
) -> None:
    given: list[float] = []

    class Noted(Patience):
        def __init__(self, seconds: float) -> None:
            given.append(seconds)
            super().__init__(seconds)

    monkeypatch.setattr(connections, "Patience", Noted)
    resolve_to(monkeypatch, SILENT, SILENT, SILENT)
    with pytest.raises(Unreachable, match="connect timed out"):
        await dial(silent_port)
    looked_up, *shares = given
    assert len(shares) == 3
    assert sum(shares) <= looked_up * 1.001


@pytest.mark.parametrize(("said", "detail"), NO_TLS)
async def test_an_https_upstream_that_speaks_no_tls_is_said_to(said: bytes | None, detail: str) -> None:
    async with without_tls(said) as port:
        dialler = dialler_of(Config(limits=Limits(connect_timeout=0.5)))
        address = UpstreamAddress("https", "127.0.0.1", port, b"apps")
        with pytest.raises(Unreachable, match=f"^{detail}$"):
            await opening(dialler, address, b"/", [], OFFER)


async def test_an_https_upstream_that_does_not_accept_is_not_said_to_speak_no_tls(silent_port: int) -> None:
    dialler = dialler_of(Config(limits=Limits(connect_timeout=0.2)))
    with pytest.raises(Unreachable, match=r"^connect timed out$"):
        await opening(dialler, UpstreamAddress("https", SILENT, silent_port, b"apps"), b"/", [], OFFER)


async def test_an_https_upstream_that_misses_a_certificate_of_ours_is_not_said_to_be_forbidden(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """TLS 1.3 says so behind our handshake, with a number of OpenSSL's that is EPERM of the kernel's."""
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))
    with asking_for_certificates(certificate) as port:
        address = UpstreamAddress("https", "127.0.0.1", port, b"apps")
        with pytest.raises(
            Unreachable, match=r"^TLS handshake failed: the upstream asks for a certificate of ours$"
        ):
            await opening(dialler_of(Config()), address, b"/", [], OFFER)


async def test_the_dot_at_the_end_of_a_whole_name_is_not_looked_for_in_a_certificate(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With that dot, operators keep the search domains of a cluster out of a look-up."""
    resolve_to(monkeypatch, SPEAKING)
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))
    async with await asyncio.start_server(refuse, SPEAKING, 0, ssl=certificate.server()) as server:
        address = UpstreamAddress("https", "localhost.", server.sockets[0].getsockname()[1], b"apps")
        answered = await opening(dialler_of(Config()), address, b"/", [], OFFER)
        assert isinstance(answered, Answered)
        answered.leg.close()


@pytest.mark.parametrize("still", [[0.5], [0.06] * 10], ids=["once", "again and again"])
async def test_time_in_which_we_stood_still_does_not_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, still: list[float]
) -> None:
    """As in a container that was frozen, or beside others that had the processor."""
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))
    dialler, left = dialler_of(Config(limits=Limits(connect_timeout=0.2))), list(still)

    def stand_still() -> None:
        if left:
            time.sleep(left.pop())
            asyncio.get_running_loop().call_soon(stand_still)

    async with await asyncio.start_server(refuse, "127.0.0.1", 0, ssl=certificate.server()) as server:
        address = UpstreamAddress("https", "127.0.0.1", server.sockets[0].getsockname()[1], b"apps")
        asyncio.get_running_loop().call_soon(stand_still)
        answered = await opening(dialler, address, b"/", [], OFFER)
        assert isinstance(answered, Answered)
        answered.leg.close()


async def test_whoever_has_no_descriptor_left_at_the_first_handshake_trusts_the_next_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))
    dialler = dialler_of(Config(limits=Limits(connect_timeout=0.5)))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for_the_connection = os.dup(0)
        with no_descriptors_left():
            os.close(for_the_connection)
            address = UpstreamAddress("https", "127.0.0.1", silent.getsockname()[1], b"apps")
            with pytest.raises(Unreachable, match=r"^TLS handshake timed out$"):
                await opening(dialler, address, b"/", [], OFFER)
    async with await asyncio.start_server(refuse, "127.0.0.1", 0, ssl=certificate.server()) as server:
        address = UpstreamAddress("https", "127.0.0.1", server.sockets[0].getsockname()[1], b"apps")
        answered = await opening(dialler, address, b"/", [], OFFER)
        assert isinstance(answered, Answered)
        answered.leg.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_connection_that_this_process_has_no_descriptor_for_is_not_the_upstreams_fault(
    host: str, silent_port: int
) -> None:
    dialler = dialler_of(Config(limits=Limits(connect_timeout=5.0)))
    with no_descriptors_left(), pytest.raises(NoRoom, match=r"^connect failed: EMFILE$"):
        await opening(dialler, UpstreamAddress("http", host, silent_port, b"apps"), b"/", [], OFFER)


async def test_an_upstreams_connection_has_every_option(monkeypatch: pytest.MonkeyPatch) -> None:
    tcp = socket.IPPROTO_TCP
    resolve_to(monkeypatch, SPEAKING)
    async with await asyncio.start_server(refuse, SPEAKING, 0) as server:
        sockets = Sockets(
            keepalive_idle=100,
            keepalive_interval=8,
            keepalive_probes=9,
            user_timeout=10,
            congestion_control="reno",
        )
        answered = await opened(server.sockets[0].getsockname()[1], sockets=sockets)
        with full_socket(answered.leg.let_go()) as connection:
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert connection.getsockopt(tcp, socket.TCP_NODELAY)
            assert 50 <= connection.getsockopt(tcp, socket.TCP_KEEPIDLE) <= 100
            assert connection.getsockopt(tcp, socket.TCP_KEEPINTVL) == 8
            assert connection.getsockopt(tcp, socket.TCP_KEEPCNT) == 9
            assert connection.getsockopt(tcp, socket.TCP_USER_TIMEOUT) == 10_000
            assert connection.getsockopt(tcp, socket.TCP_CONGESTION, 16).rstrip(b"\0") == b"reno"


async def test_a_unix_socket_is_an_upstream_with_no_option_of_tcp(socket_folder: Path) -> None:
    path = str(socket_folder / "s")
    address = UpstreamAddress("http+unix", path, 0, b"s")
    async with await asyncio.start_unix_server(refuse, path):
        dialler = dialler_of(Config(sockets=Sockets(congestion_control="reno")))
        for _ in range(2):  # the second time its path is known
            answered = await opening(dialler, address, b"/", [], OFFER)
            assert isinstance(answered, Answered)
            assert answered.head.status == 404
            with full_socket(answered.leg.let_go()) as connection:
                assert connection.family is socket.AF_UNIX
                assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE)


async def test_a_unix_socket_that_nobody_serves_is_not_reachable(socket_folder: Path) -> None:
    path = socket_folder / "s"
    dialler = dialler_of(Config(limits=Limits(connect_timeout=0.3)))
    address = UpstreamAddress("http+unix", str(path), 0, b"s")
    with pytest.raises(Unreachable, match=r"^connect failed: ENOENT$"):
        await opening(dialler, address, b"/", [], OFFER)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        with pytest.raises(Unreachable, match=r"^connect failed: ECONNREFUSED$"):
            await opening(dialler, address, b"/", [], OFFER)
        listener.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(str(path))
            with pytest.raises(Unreachable, match=r"^connect timed out$"):  # there is no room in its backlog
                await opening(dialler, address, b"/", [], OFFER)


@pytest.fixture
def here() -> Iterator[None]:
    with at_home():
        yield


def named_by_url(port: int, scheme: str = "http") -> UpstreamAddress:
    return UpstreamAddress(scheme, "apps", port, b"apps", named_by_url=True)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_45_a_host_that_a_url_named_is_not_connected_to_on_the_loopback(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    resolve_to(monkeypatch, SPEAKING)
    dialler = dialler_of(Config())
    with socket.create_server((SPEAKING, 0)) as listening:
        for _ in range(2):  # the second time the name is known
            address = named_by_url(listening.getsockname()[1], scheme)
            with pytest.raises(Unreachable, match=r"^name resolves to a loopback address$"):
                await opening(dialler, address, b"/", [], OFFER)
        assert nobody_came(listening)


async def test_45_nor_by_an_address_of_its_name_that_has_others(
    monkeypatch: pytest.MonkeyPatch, here: None
) -> None:
    resolve_to(monkeypatch, SPEAKING, HERE)
    with socket.create_server((SPEAKING, 0)) as listening:
        port = listening.getsockname()[1]
        dialler = dialler_of(Config())
        for _ in range(2):
            with pytest.raises(Unreachable, match=r"^connect failed: ECONNREFUSED$"):
                await opening(dialler, named_by_url(port), b"/", [], OFFER)
        assert nobody_came(listening)


async def test_46_a_name_that_means_another_address_later_leads_nowhere(
    monkeypatch: pytest.MonkeyPatch, here: None
) -> None:
    loop = asyncio.get_running_loop()
    dialler = dialler_of(Config())
    async with await asyncio.start_server(refuse, HERE, 0) as server:
        port = server.sockets[0].getsockname()[1]
        with socket.create_server((SPEAKING, port)):
            resolve_to(monkeypatch, HERE)
            address = named_by_url(port)
            for host in (HERE, SPEAKING):  # what was looked at is connected to, whatever the name means now
                resolve_to(monkeypatch, host)
                answered = await opening(dialler, address, b"/", [], OFFER)
                assert isinstance(answered, Answered)
                answered.leg.close()
            now = loop.time
            monkeypatch.setattr(loop, "time", lambda: now() + REMEMBER)
            with pytest.raises(Unreachable, match=r"^name resolves to a loopback address$"):
                await opening(dialler, address, b"/", [], OFFER)


async def test_45_a_host_that_a_url_named_is_not_connected_to_where_we_listen_ourselves(
    monkeypatch: pytest.MonkeyPatch, here: None
) -> None:
    resolve_to(monkeypatch, HERE)
    with socket.create_server(("", 0)) as listening:
        dialler = Dialler(Config(), upstream_context(Config().upstream_tls), Fence((listening.fileno(),)))
        with pytest.raises(Unreachable, match=r"^name resolves to a listener of our own$"):
            await opening(dialler, named_by_url(listening.getsockname()[1]), b"/", [], OFFER)
        assert nobody_came(listening)
