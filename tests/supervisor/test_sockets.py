"""An accepted connection has the options of the configuration; one that the kernel refuses is told."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import closing
from pathlib import Path

import pytest

from bascule.configuration.config import Config, Sockets
from bascule.configuration.endpoints import Endpoint
from bascule.errors import ConfigError
from bascule.supervisor.sockets import Listeners, listen, url

HERE = Endpoint("127.0.0.1", 0)
TCP = socket.IPPROTO_TCP


def accepted(sockets: Sockets, field: str = "listen") -> socket.socket:
    """Return the proxy's end of a client's connection."""
    with closing(listen(Config(sockets=sockets), HERE, field)) as listening:
        listening.setblocking(True)
        with socket.create_connection(listening.getsockname()) as browser:
            browser.sendall(b"GET")  # the kernel holds silent connections back
            return listening.accept()[0]


def test_a_browsers_connection_has_every_option() -> None:
    sockets = Sockets(
        keepalive_idle=7,
        keepalive_interval=8,
        keepalive_probes=9,
        user_timeout=10,
        notsent_lowat_bytes=4096,
        congestion_control="reno",
    )
    with accepted(sockets) as connection:
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert connection.getsockopt(TCP, socket.TCP_NODELAY)
        assert connection.getsockopt(TCP, socket.TCP_KEEPIDLE) == 7
        assert connection.getsockopt(TCP, socket.TCP_KEEPINTVL) == 8
        assert connection.getsockopt(TCP, socket.TCP_KEEPCNT) == 9
        assert connection.getsockopt(TCP, socket.TCP_USER_TIMEOUT) == 10_000
        assert connection.getsockopt(TCP, 25) == 4096  # TCP_NOTSENT_LOWAT
        assert connection.getsockopt(TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0") == b"reno"


@pytest.mark.parametrize("field", ["listen", "admin", "tls.redirectFrom"])
def test_whoever_connects_is_given_up_when_it_takes_nothing(field: str) -> None:
    with accepted(Sockets(user_timeout=10, keepalive_idle=7), field) as connection:
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert connection.getsockopt(TCP, socket.TCP_KEEPIDLE) == 7
        assert connection.getsockopt(TCP, socket.TCP_USER_TIMEOUT) == 10_000


def test_as_many_may_come_at_once_as_the_kernel_holds_by_default() -> None:
    most = int(Path("/proc/sys/net/core/somaxconn").read_text())
    with closing(listen(Config(), HERE, "listen")) as listening:
        # Of a socket that listens `tcpi_sacked` is its backlog.
        (found,) = struct.unpack_from("28xI", listening.getsockopt(TCP, socket.TCP_INFO, 32))
    assert found == min(most, 4096)


def test_without_a_congestion_control_it_is_the_nodes() -> None:
    with accepted(Sockets(no_delay=False)) as connection, socket.socket() as ordinary:
        assert not connection.getsockopt(TCP, socket.TCP_NODELAY)
        assert connection.getsockopt(TCP, socket.TCP_CONGESTION, 16) == ordinary.getsockopt(
            TCP, socket.TCP_CONGESTION, 16
        )


def test_a_congestion_control_that_the_kernel_lacks_is_told_with_what_it_allows() -> None:
    config = Config(listen=HERE, admin=HERE, sockets=Sockets(congestion_control="cubik"))
    with pytest.raises(ConfigError) as caught:
        Listeners.open(config)
    (problem,) = caught.value.problems
    assert problem.startswith('sockets.congestionControl: found "cubik"; allowed: ')
    assert '"reno"' in problem


@pytest.mark.parametrize("field", ["listen", "admin"])
def test_an_address_that_is_given_up_in_time_is_waited_for(field: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = Endpoint("127.0.0.1", taken.getsockname()[1])
        config = Config.model_validate({"listen": HERE, "admin": HERE, field: place})
        threading.Timer(0.2, taken.close).start()
        opened = Listeners.open(config, patience=20)
    with closing(opened.public), closing(opened.admin):
        ours = opened.public if field == "listen" else opened.admin
        assert ours.getsockname()[1] == place.port


def test_the_public_address_is_bound_last() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        public, admin = (Endpoint("127.0.0.1", taken.getsockname()[1]) for taken in (one, other))
        with pytest.raises(ConfigError, match="admin: cannot listen"):
            Listeners.open(Config(listen=public, admin=admin))


@pytest.mark.parametrize(
    ("addresses", "chosen"), [(["::1", "127.0.0.1", "127.0.0.2"], "127.0.0.1"), (["::1"], "::1")]
)
def test_a_name_stands_for_its_first_address_of_ipv4_or_else_of_ipv6(
    monkeypatch: pytest.MonkeyPatch, addresses: list[str], chosen: str
) -> None:
    def found(host: str, port: int, family: int = 0, **_: object) -> list[object]:
        assert host == "front.example"
        families = {each: socket.AF_INET6 if ":" in each else socket.AF_INET for each in addresses}
        return [
            (families[each], socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (each, port))
            for each in addresses
            if family in (0, families[each])
        ]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    with listen(Config(), Endpoint("front.example", 0), "listen") as listening:
        assert listening.getsockname()[0] == chosen


def test_what_is_taken_out_of_the_configuration_is_taken_from_the_socket() -> None:
    before = Sockets(user_timeout=10, congestion_control="reno", keepalive_idle=7)
    after = Sockets(no_delay=False, user_timeout=0)
    with closing(listen(Config(sockets=before), HERE, "listen")) as public, socket.socket() as admin:
        Listeners(public, admin).set_options(after)
        assert admin.getsockopt(TCP, socket.TCP_KEEPIDLE) == public.getsockopt(TCP, socket.TCP_KEEPIDLE)
        with closing(listen(Config(sockets=after), HERE, "listen")) as fresh:
            for option in (socket.TCP_NODELAY, socket.TCP_USER_TIMEOUT, socket.TCP_KEEPIDLE):
                assert public.getsockopt(TCP, option) == fresh.getsockopt(TCP, option)
            names = [each.getsockopt(TCP, socket.TCP_CONGESTION, 16) for each in (public, fresh)]
            assert names[0] == names[1]


@pytest.mark.parametrize(
    ("host", "secure", "begins"),
    [
        ("127.0.0.1", False, "http://127.0.0.1"),
        ("0.0.0.0", False, "http://localhost"),
        ("::", True, "https://localhost"),
        ("::1", True, "https://[::1]"),
    ],
)
def test_the_url_of_a_socket_opens_in_a_browser_on_this_host(host: str, secure: bool, begins: str) -> None:
    with closing(listen(Config(), Endpoint(host, 0), "listen")) as listening:
        assert url(listening, secure=secure) == f"{begins}:{listening.getsockname()[1]}/"
        assert url(listening, secure=secure, path="/lab") == f"{begins}:{listening.getsockname()[1]}/lab"
