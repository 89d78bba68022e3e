"""Dialling an upstream whose name has several addresses."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from bascule.gateway import upstream
from bascule.gateway.answers import AnsweringLeg
from bascule.gateway.connecting import full_socket
from bascule.gateway.fence import Fence
from bascule.gateway.resolver import REMEMBER
from bascule.gateway.upstream import Answered, Dialler, NoRoom, Switched, Unreachable
from bascule.policy.certificate import upstream_context
from bascule.policy.config import Config, Limits, Sockets
from bascule.policy.routes import UpstreamAddress
from bascule.protocol.handshake import Offer
from tests.gateway.fenced import HERE, at_home, nobody_came, resolve_to
from tests.support.certificates import make_certificate
from tests.support.deaf import deaf_port
from tests.support.fewdescriptors import no_descriptors_left
from tests.support.mutual import asking_for_certificates
from tests.support.notls import NO_TLS, without_tls
from tests.support.processes import reserve_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OFFER = Offer(b"", (), frozenset(), b"front", None)
SILENT, SPEAKING, REFUSING = "127.0.0.2", "127.0.0.3", "127.0.0.4"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Return a port of one address that takes no connection."""
    with deaf_port(SILENT) as port:
        yield port


def dialler_of(config: Config) -> Dialler:
    return Dialler(config, upstream_context(config.upstream_tls), Fence(()))


def lacking(monkeypatch: pytest.MonkeyPatch, lacked: socket.AddressFamily) -> None:
    """Let this host have no addresses of a family."""
    make = Dialler._socket

    def socket_of(dialler: Dialler, family: socket.AddressFamily) -> socket.socket:
        if family is lacked:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        return make(dialler, family)

    monkeypatch.setattr(Dialler, "_socket", socket_of)


async def opening(dialler: Dialler, address: UpstreamAddress, *what: Any) -> Switched | Answered:
    """Do what the admission does to open a connection and to hear the answer."""
    dial, arrived = dialler.dial(address, *what), asyncio.Event()
    expects = dial.begin(arrived.set)
    while expects:
        try:
            await arrived.wait()
        except asyncio.CancelledError:
            dial.give_up()
            raise
        arrived.clear()
        with contextlib.suppress(BlockingIOError):
            if (switched := dial.hear()) is not None:
                return switched
            expects = False
    return await dial.finish()


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


async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Be an upstream that has no such path."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    writer.close()


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


@pytest.fixture
def far_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each connect take a while, as to another node: the kernel is not asked again at once."""

    def begun(connection: socket.socket, where: Any) -> bool:
        assert connection.connect_ex(where) == errno.EINPROGRESS
        return False

    monkeypatch.setattr(upstream, "begin_connect", begun)


async def known(dialler: Dialler, port: int) -> UpstreamAddress:
    """Return an address that has been looked up."""
    address = UpstreamAddress("http", "apps", port, b"apps")
    with contextlib.suppress(Unreachable):
        (await opening(dialler, address, b"/", [], OFFER)).leg.close()
    return address


@pytest.mark.usefixtures("far_away")
async def test_a_connection_that_takes_a_while_is_waited_for_without_a_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolve_to(monkeypatch, SPEAKING)
    port = reserve_port()
    async with await asyncio.start_server(refuse, SPEAKING, port):
        dialler = dialler_of(Config())
        address = await known(dialler, port)
        arrived = asyncio.Event()
        dial = dialler.dial(address, b"/", [], OFFER)
        assert dial.begin(arrived.set)
        await arrived.wait()
        with pytest.raises(BlockingIOError):  # it is established, and was asked
            dial.hear()
        assert not dialler.connect_deadlines
        arrived.clear()
        await arrived.wait()
        assert dial.hear() is None  # a 404 is up to `finish`
        answered = await dial.finish()
        assert isinstance(answered, Answered)
        assert answered.head.status == 404
        answered.leg.close()
        assert not dialler.deadlines


@pytest.mark.usefixtures("far_away")
async def test_one_that_is_refused_after_a_while_is_told_as_one_that_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolve_to(monkeypatch, SPEAKING)
    dialler = dialler_of(Config())
    address = await known(dialler, reserve_port())
    dial, arrived = dialler.dial(address, b"/", [], OFFER), asyncio.Event()
    assert dial.begin(arrived.set)
    await arrived.wait()
    assert dial.hear() is None
    with pytest.raises(Unreachable, match=r"^connect failed: ECONNREFUSED$"):
        await dial.finish()
    assert not dialler.connect_deadlines


async def test_one_that_says_nothing_is_given_up_in_time_without_a_task(
    monkeypatch: pytest.MonkeyPatch, silent_port: int
) -> None:
    resolve_to(monkeypatch, SILENT)
    dialler = dialler_of(Config(limits=Limits(connect_timeout=0.1)))
    address = await known(dialler, silent_port)
    dial, arrived = dialler.dial(address, b"/", [], OFFER), asyncio.Event()
    assert dial.begin(arrived.set)
    await arrived.wait()
    assert dial.hear() is None
    with pytest.raises(Unreachable, match=r"^connect timed out$"):
        await dial.finish()


async def test_one_that_nobody_waits_for_any_more_is_closed(
    monkeypatch: pytest.MonkeyPatch, silent_port: int
) -> None:
    resolve_to(monkeypatch, SILENT)
    dialler = dialler_of(Config(limits=Limits(connect_timeout=0.1)))
    address = await known(dialler, silent_port)
    before = set(os.listdir("/proc/self/fd"))
    dial = dialler.dial(address, b"/", [], OFFER)
    assert dial.begin(lambda: None)
    dial.give_up()
    assert set(os.listdir("/proc/self/fd")) == before
    assert not dialler.connect_deadlines


@pytest.mark.usefixtures("far_away")
async def test_of_several_addresses_each_has_its_share_of_the_time_in_a_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolve_to(monkeypatch, SPEAKING, SPEAKING)
    dialler = dialler_of(Config())
    address = await known(dialler, reserve_port())
    dial = dialler.dial(address, b"/", [], OFFER)
    assert not dial.begin(lambda: None)
    with pytest.raises(Unreachable, match=r"^connect failed: ECONNREFUSED$"):
        await dial.finish()


@pytest.mark.usefixtures("far_away")
async def test_one_that_epoll_does_not_take_is_told_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, SPEAKING)
    dialler = dialler_of(Config())
    address = await known(dialler, reserve_port())

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no watches")

    monkeypatch.setattr(AnsweringLeg, "expect_connected", full)
    dial = dialler.dial(address, b"/", [], OFFER)
    assert not dial.begin(lambda: None)
    with pytest.raises(Unreachable, match=r"^connect failed: ENOSPC$"):
        await dial.finish()


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
    resolve_to(monkeypatch, SILENT, SILENT, SILENT)
    async with asyncio.timeout(1.8):
        with pytest.raises(Unreachable, match="connect timed out"):
            await dial(silent_port)


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


async def test_an_answer_that_comes_as_time_runs_out_comes_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, SPEAKING)
    dialler = dialler_of(Config())
    read = AnsweringLeg.read_now

    def read_late(leg: AnsweringLeg) -> bytes:
        for deadline in dialler.deadlines:
            deadline.expire()
        return read(leg)  # the kernel gives what has come, though the connection is shut down

    monkeypatch.setattr(AnsweringLeg, "read_now", read_late)
    async with await asyncio.start_server(refuse, SPEAKING, 0) as server:
        address = UpstreamAddress("http", "apps", server.sockets[0].getsockname()[1], b"apps")
        for _ in range(2):  # the second time the name is known
            with pytest.raises(Unreachable, match="handshake timed out"):
                await opening(dialler, address, b"/", [], OFFER)


@pytest.mark.parametrize("how", ["end", "reset"])
async def test_an_upstream_that_ends_before_it_answers_has_reset_the_connection(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, SPEAKING)

    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if how == "reset":
            writer.transport.abort()
        writer.close()

    dialler = dialler_of(Config())
    async with await asyncio.start_server(leave, SPEAKING, 0) as server:
        address = UpstreamAddress("http", "apps", server.sockets[0].getsockname()[1], b"apps")
        for _ in range(2):  # the second time the name is known
            with pytest.raises(Unreachable, match=r"^handshake failed: ECONNRESET$"):
                await opening(dialler, address, b"/", [], OFFER)


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
