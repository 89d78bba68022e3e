"""TLS between two memory buffers, without a connection."""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING

import pytest

from bascule.gateway.tls.records import RECORD, TlsRecords
from tests.support.certificates import make_certificate

if TYPE_CHECKING:
    from tests.support.certificates import Certificate

ROOM = 6 * RECORD


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def sides(certificate: Certificate) -> tuple[TlsRecords, TlsRecords]:
    """A client and a server behind their handshake."""
    ours, theirs = (ssl.MemoryBIO(), ssl.MemoryBIO()), (ssl.MemoryBIO(), ssl.MemoryBIO())
    client = certificate.client().wrap_bio(*ours, server_hostname="localhost")
    server = certificate.server().wrap_bio(*theirs, server_side=True)
    for side, said, heard in (
        (client, ours[1], theirs[0]), (server, theirs[1], ours[0]), (client, ours[1], theirs[0]),
        (server, theirs[1], ours[0]),
    ):  # fmt: skip
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
        heard.write(said.read())
    return TlsRecords(client, *ours), TlsRecords(server, *theirs)


def opened(records: TlsRecords, sealed: bytes) -> tuple[bytes, ssl.SSLError | None]:
    into = memoryview(bytearray(ROOM))
    count, over = records.open(memoryview(sealed), into)
    return bytes(into[:count]), over


def test_what_one_side_seals_the_other_opens_record_by_record(sides: tuple[TlsRecords, TlsRecords]) -> None:
    client, server = sides
    said = bytes(range(256)) * (4 * RECORD // 256) + b"end"

    sealed, count = client.seal(memoryview(said))

    assert count == len(said)
    assert len(sealed) < len(said) + 5 * 64
    assert opened(server, sealed) == (said, None)


def test_half_a_record_says_nothing_until_the_rest_comes(sides: tuple[TlsRecords, TlsRecords]) -> None:
    client, server = sides
    sealed, _ = client.seal(memoryview(b"hello"))

    assert opened(server, sealed[:7]) == (b"", None)
    assert opened(server, sealed[7:]) == (b"hello", None)


def test_what_was_said_right_behind_the_handshake_is_still_to_be_opened(
    sides: tuple[TlsRecords, TlsRecords],
) -> None:
    client, _ = sides

    assert client.unopened, "the server's tickets"
    assert opened(client, b"") == (b"", None)
    assert not client.unopened


def test_what_came_before_the_peers_end_is_opened_with_it(sides: tuple[TlsRecords, TlsRecords]) -> None:
    client, server = sides
    sealed, _ = client.seal(memoryview(b"bye"))

    said, over = opened(server, sealed + client.end())

    assert said == b"bye"
    assert isinstance(over, ssl.SSLZeroReturnError)


def test_what_came_before_a_failure_is_opened_with_it_and_tls_says_why(
    sides: tuple[TlsRecords, TlsRecords],
) -> None:
    client, server = sides
    sealed, _ = client.seal(memoryview(b"fine"))
    assert server.to_say() == b""

    said, over = opened(server, sealed + b"\x17\x03\x03\x00\x20" + b"x" * 32)

    assert said == b"fine"
    assert over is not None
    assert not isinstance(over, ssl.SSLZeroReturnError)
    assert server.to_say(), "the alert"
