import ipaddress
import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.protocol.proxyheader import LONGEST, BadProxyHeader, ProxyHeader, parse_proxy_header

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
TCP4, UDP4, TCP6, UNIX, UNSPEC = 0x11, 0x12, 0x21, 0x31, 0x00


def version_2(family: int, body: bytes, command: int = 0x21) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def tcp4(client: str = "192.0.2.7", *values: bytes) -> bytes:
    addresses = ipaddress.ip_address(client).packed + bytes([198, 51, 100, 1])
    return version_2(TCP4, addresses + struct.pack("!HH", 56324, 443) + b"".join(values))


@pytest.mark.parametrize(
    ("line", "client"),
    [
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n", "192.0.2.7"),
        (b"PROXY TCP6 2001:DB8::7 2001:db8::1 1 65535\r\n", "2001:db8::7"),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 0 80\r\n", "192.0.2.7"),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN ffff:f...f:ffff \xff 65535 65535\r\n", None),
    ],
)
def test_a_line_of_version_1_says_who_the_client_is(line: bytes, client: str | None) -> None:
    assert parse_proxy_header(line + b"GET / HTTP/1.1\r\n") == ProxyHeader(len(line), client, secure=False)


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 \r\n",
        b"PROXY  TCP4 192.0.2.7 198.51.100.1 56324 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 0443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 123456 443\r\n",
        b"PROXY TCP4 192.0.2.300 198.51.100.1 56324 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100 56324 443\r\n",
        b"PROXY TCP4 2001:db8::7 2001:db8::1 56324 443\r\n",
        b"PROXY TCP6 192.0.2.7 198.51.100.1 56324 443\r\n",
        b"PROXY UDP4 192.0.2.7 198.51.100.1 56324 443\r\n",
        b"PROXY UNKNOWNS\r\n",
        b"PROXY \r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\n" + b"x" * 107,
        b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
        b"GET / HTTP/1.1\r\n",
        b"proxy unknown\r\n",
        b"\x16\x03\x01\x02\x00",
        b"\r\nGET / HTTP/1.1\r\n",
    ],
)
def test_what_is_no_line_of_version_1_is_refused_and_not_repeated(line: bytes) -> None:  # 91
    with pytest.raises(BadProxyHeader) as refused:
        parse_proxy_header(line)
    assert "192.0.2" not in str(refused.value)


def test_the_longest_line_of_version_1_is_taken() -> None:
    line = b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n"
    assert len(line) == 107
    assert parse_proxy_header(line) == ProxyHeader(107, None, secure=False)


def test_version_2_says_who_the_client_is() -> None:
    assert parse_proxy_header(tcp4() + b"GET") == ProxyHeader(28, "192.0.2.7", secure=False)
    v6 = ipaddress.ip_address("2001:db8::7").packed
    header = parse_proxy_header(version_2(TCP6, v6 * 2 + b"\0\1\0\2"))
    assert header == ProxyHeader(52, "2001:db8::7", secure=False)
    mapped = ipaddress.ip_address("::ffff:192.0.2.7").packed
    header = parse_proxy_header(version_2(TCP6, mapped * 2 + b"\0\1\0\2"))
    assert header == ProxyHeader(52, "192.0.2.7", secure=False)


@pytest.mark.parametrize(
    ("family", "size"), [(UNSPEC, 0), (UDP4, 12), (0x22, 36), (UNIX, 216), (0x32, 216), (UNSPEC, 40)]
)
def test_version_2_without_a_tcp_client_says_nothing_of_one(family: int, size: int) -> None:
    values = tlv(4, bytes(size - 3)) if family == UNSPEC and size else bytes(size)
    assert parse_proxy_header(version_2(family, values)) == ProxyHeader(16 + size, None, secure=False)


@pytest.mark.parametrize("family", [TCP4, UNSPEC, 0x10, 0x23, 0x40, 0xFF])
def test_a_balancer_that_speaks_for_itself_is_not_asked_further(family: int) -> None:
    header = parse_proxy_header(version_2(family, b"what it says is to be skipped", command=0x20))
    assert header == ProxyHeader(45, None, secure=False)


@pytest.mark.parametrize(
    ("values", "secure"),
    [
        ((tlv(0x20, b"\1\0\0\0\0"),), True),
        ((tlv(0x20, b"\7\0\0\0\0" + tlv(0x21, b"TLSv1.3")),), True),
        ((tlv(0x20, b"\0\0\0\0\0"),), False),
        ((tlv(0x20, b""),), False),
        ((tlv(0xEA, b"\1vpce-08d2bf15fac5001c9"), tlv(0x20, b"\1\0\0\0\0"), tlv(3, b"\0\0\0\0")), True),
        ((tlv(4, bytes(300)),), False),
    ],
)
def test_version_2_says_whether_the_client_came_over_tls(values: tuple[bytes, ...], secure: bool) -> None:
    data = tcp4("192.0.2.7", *values)
    assert parse_proxy_header(data) == ProxyHeader(len(data), "192.0.2.7", secure)


@pytest.mark.parametrize(
    "data",
    [
        version_2(TCP4, bytes(12), command=0x22),
        version_2(TCP4, bytes(12), command=0x11),
        version_2(0x13, bytes(12)),
        version_2(0x41, bytes(12)),
        version_2(TCP4, bytes(11)),
        version_2(TCP6, bytes(12)),
        version_2(TCP4, bytes(13)),
        version_2(TCP4, bytes(12) + b"\x20\x00\x05\1\0\0\0"),
        SIGNATURE + struct.pack("!BBH", 0x21, TCP4, LONGEST - 15),
        SIGNATURE[:-1] + b"\r" + bytes(4),
    ],
)
def test_what_is_no_header_of_version_2_is_refused(data: bytes) -> None:  # 91
    with pytest.raises(BadProxyHeader):
        parse_proxy_header(data)


def test_the_longest_header_of_version_2_is_taken() -> None:
    data = tcp4("192.0.2.7", tlv(4, bytes(LONGEST - 28 - 3)))
    assert len(data) == LONGEST
    assert parse_proxy_header(data) == ProxyHeader(LONGEST, "192.0.2.7", secure=False)


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n",
        b"PROXY UNKNOWN\r\n",
        tcp4("192.0.2.7", tlv(0x20, b"\1\0\0\0\0")),
        version_2(UNSPEC, b"", command=0x20),
    ],
)
def test_a_header_in_pieces_is_waited_for(header: bytes) -> None:
    assert [parse_proxy_header(header[:length]) for length in range(len(header))] == [None] * len(header)
    whole = parse_proxy_header(header)
    assert whole is not None
    assert whole == parse_proxy_header(header + b"\r\n\r\nPROXY ")


headers = st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=200).map(b"PROXY ".__add__),
    st.builds(
        version_2, st.sampled_from([TCP4, UDP4, TCP6, UNIX, UNSPEC, 0x99]), st.binary(max_size=300),
        st.sampled_from([0x20, 0x21, 0x10]),
    ),
)  # fmt: skip


@given(headers, st.binary(max_size=20))
def test_more_bytes_never_change_a_verdict(data: bytes, more: bytes) -> None:
    def verdict(seen: bytes) -> ProxyHeader | type[BadProxyHeader] | None:
        try:
            return parse_proxy_header(seen)
        except BadProxyHeader:
            return BadProxyHeader

    verdicts = [verdict(data[:length]) for length in range(len(data) + 1)]
    verdicts.append(verdict(data + more))
    final = list(itertools.dropwhile(lambda each: each is None, verdicts))
    assert all(each == final[0] for each in final)
    for each in final:
        if isinstance(each, ProxyHeader):
            assert 0 < each.length <= LONGEST
