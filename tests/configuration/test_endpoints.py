"""Endpoints, networks and origins."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from bascule.configuration.endpoints import Endpoint, Listen, Network, Origin, SocketFile, TrustedProxy

endpoint = TypeAdapter(Endpoint)
network: TypeAdapter[Any] = TypeAdapter(Network)
origin: TypeAdapter[str] = TypeAdapter(Origin)


@pytest.mark.parametrize(
    ("written", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        (":0", "0.0.0.0", 0),
        ("[::1]:65535", "::1", 65535),
        ("[2001:DB8::1]:1", "2001:db8::1", 1),
        ("localhost:80", "localhost", 80),
        ("bascule-0.bascule_pods.svc.:81", "bascule-0.bascule_pods.svc.", 81),
    ],
)
def test_an_endpoint_is_a_host_and_a_port(written: str, host: str, port: int) -> None:
    assert endpoint.validate_python(written) == Endpoint(host, port)


@pytest.mark.parametrize(
    "written",
    [
        "",
        ":",
        "8080",
        "host",
        "host:",
        "host:x",
        "host:65536",
        "host:-1",
        "::1:80",
        "[::1]",
        "[::1]:",
        "[x]:1",
        "a b:1",
        "[]:1",
        "[fe80::1%eth0]:1",
        "http://h:1",
        "h/:1",
        "-h:1",
        "h..h:1",
        f"{'a' * 64}:1",
        f"{'a.' * 127}a:1",
        80,
        None,
    ],
)
def test_anything_else_is_no_endpoint(written: object) -> None:
    with pytest.raises(ValidationError, match='"host:port"'):
        endpoint.validate_python(written)


@pytest.mark.parametrize(
    ("written", "loopback", "unspecified"),
    [
        ("127.3.2.1:1", True, False),
        ("[::1]:1", True, False),
        ("LocalHost.:1", True, False),
        ("a.localhost:1", False, False),
        ("localhost.example.org:1", False, False),
        ("10.0.0.1:1", False, False),
        ("example.org:1", False, False),
        (":1", False, True),
        ("[::]:1", False, True),
    ],
)
def test_an_endpoint_knows_who_can_reach_it(written: str, loopback: bool, unspecified: bool) -> None:
    parsed = Endpoint.parse(written)

    assert (parsed.is_loopback, parsed.is_unspecified) == (loopback, unspecified)


@given(
    st.one_of(st.ip_addresses().map(str), st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)),
    st.integers(0, 65535),
)
def test_an_endpoint_prints_as_it_is_read(host: str, port: int) -> None:
    given_endpoint = Endpoint(host, port)

    assert Endpoint.parse(str(given_endpoint)) == given_endpoint
    assert endpoint.validate_json(endpoint.dump_json(given_endpoint)) == given_endpoint


@pytest.mark.parametrize("written", ["10.0.0.0/8", "::1", "192.168.1.7", " fd00::/8 "])
def test_a_network_is_a_prefix_or_an_address(written: str) -> None:
    parsed = network.validate_python(written)

    assert parsed == ip_network(written.strip())
    assert network.validate_json(network.dump_json(parsed)) == parsed
    assert network.validate_python(parsed) == parsed


@pytest.mark.parametrize("written", ["10.0.0.1/8", "host", "", 10, None])
def test_anything_else_is_no_network(written: object) -> None:
    with pytest.raises(ValidationError, match="a network such as"):
        network.validate_python(written)


@pytest.mark.parametrize(
    "written",
    [
        "*",
        "https://a.example",
        "http://localhost:8888",
        "https://[::1]:8443",
        "https://[::1]",
        "http://a_b.c:443",
    ],
)
def test_an_origin_is_what_browsers_send(written: str) -> None:
    assert origin.validate_python(written) == written


@pytest.mark.parametrize(
    "written",
    [
        "https://a.example/",
        "https://A.example",
        "a.example",
        "https://a:443",
        "http://a:80",
        "https://*.a",
        "null",
        "",
        "https://a:0",
        "https://a:08",
        "https://a:70000",
        "https://u@a",
        "ws://a",
        "https://[::1]:443",
        5,
        None,
    ],
)
def test_anything_else_is_no_origin(written: object) -> None:
    with pytest.raises(ValidationError, match="an origin as browsers send it"):
        origin.validate_python(written)


# -- Unix sockets -------------------------------------------------------------------------------------------

listening: TypeAdapter[Any] = TypeAdapter(Listen)
trusted: TypeAdapter[Any] = TypeAdapter(TrustedProxy)


@pytest.mark.parametrize(
    ("written", "where"),
    [
        ("unix:/run/bascule/public.sock", SocketFile("/run/bascule/public.sock")),
        (" unix:/run/A b.sock ", SocketFile("/run/A b.sock")),
        (SocketFile("/run/a"), SocketFile("/run/a")),
        ("unix:80", Endpoint("unix", 80)),
        ("127.0.0.1:80", Endpoint("127.0.0.1", 80)),
        (Endpoint("::", 1), Endpoint("::", 1)),
    ],
)
def test_a_listener_is_an_endpoint_or_a_socket(written: object, where: Endpoint | SocketFile) -> None:
    assert listening.validate_python(written) == where
    assert listening.validate_python(listening.dump_python(where)) == where
    assert listening.dump_json(where).decode() == f'"{where}"'


def test_a_socket_is_of_this_host() -> None:
    assert SocketFile("/run/a").is_loopback


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("unix:/", "the whole path"),
        ("unix:/run/", "the whole path"),
        ("unix:/" + 107 * "s", "at most 107 bytes"),
        ("unix:/a\nb", "without control characters"),
    ],
)
def test_a_socket_that_cannot_be_one_is_told_why(written: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        listening.validate_python(written)


@pytest.mark.parametrize("written", ["unix:", "unix:run/a.sock", "http+unix://%2Frun%2Fa.sock", None])
def test_what_is_neither_is_told_what_there_is(written: object) -> None:
    with pytest.raises(ValidationError) as refused:
        listening.validate_python(written)
    assert refused.value.errors()[0]["type"] == "malformed"


def test_where_only_tcp_will_do_a_socket_is_told_so() -> None:
    with pytest.raises(ValidationError, match="not a Unix socket, which has no port"):
        endpoint.validate_python("unix:/run/a.sock")


def test_a_trusted_proxy_is_a_network_or_whoever_connects_to_a_socket() -> None:
    assert trusted.validate_python("unix:") == "unix:"
    assert trusted.validate_python("10.0.0.0/8") == ip_network("10.0.0.0/8")
    assert trusted.dump_json(ip_network("10.0.0.0/8")) == b'"10.0.0.0/8"'
    with pytest.raises(ValidationError):
        trusted.validate_python("unix:/run/a.sock")
