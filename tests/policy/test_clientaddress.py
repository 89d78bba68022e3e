"""The client is the rightmost address that is not a trusted proxy's, however long the list."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.policy.clientaddress import TrustedProxies, client_address, normal_address, peer_address
from tests.policy.forwarded import FRONT, NGINX
from tests.support.growth import most_held

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bascule.policy.fieldlines import Fields


def told(hops: Iterable[bytes]) -> Fields:
    return [(b"X-Forwarded-For", hop) for hop in hops]


@pytest.mark.parametrize(
    ("peer", "hops", "client"),
    [
        ("192.0.2.7", [b"1.2.3.4"], "192.0.2.7"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [b"1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", [b"1.2.3.4, 5.6.7.8, 10.2.2.2"], "5.6.7.8"),
        ("10.0.0.1", [b"1.2.3.4", b"10.3.3.3,10.2.2.2"], "1.2.3.4"),
        ("10.0.0.1", [b"10.3.3.3,10.2.2.2"], "10.3.3.3"),
        ("10.0.0.1", [b"1.2.3.4, unknown"], "10.0.0.1"),
        ("10.0.0.1", [b"1.2.3.4, , 10.2.2.2"], "10.2.2.2"),
        ("10.0.0.1", [b"1.2.3.4:5678"], "1.2.3.4"),
        ("10.0.0.1", [b"[2001:db8::1]:5678"], "2001:db8::1"),
        ("10.0.0.1", [b"\xff" * 900], "10.0.0.1"),
        ("::ffff:10.0.0.1", [b"::ffff:1.2.3.4"], "1.2.3.4"),
        ("fd00::1%eth0", [b"2001:DB8:0::1"], "2001:db8::1"),
        ("", [b"1.2.3.4"], ""),
    ],
)
def test_the_client_is_the_rightmost_address_that_is_not_trusted(
    peer: str, hops: list[bytes], client: str
) -> None:
    assert client_address(peer, told(hops), NGINX) == client


ADDRESSES = st.sampled_from(
    [
        "10.0.0.1",
        "10.1.2.3:80",
        "::ffff:10.2.3.4",
        "[fd00::1]:80",
        "fd00::2",
        "192.0.2.7",
        "2001:db8::1",
        "no",
        "",
    ]
)


def _the_full_walk(peer: str, entries: list[str], trusted: TrustedProxies) -> str:
    for entry in reversed(entries):
        if peer not in trusted or (address := normal_address(entry)) is None:
            break
        peer = address
    return peer


@given(
    st.sampled_from(["10.0.0.9", "192.0.2.1"]),
    st.lists(ADDRESSES, max_size=32),
    st.lists(st.integers(0, 32), max_size=4),
    st.sampled_from([NGINX, TrustedProxies(["0.0.0.0/0", "::/0"])]),
)
def test_a_list_of_as_many_as_are_looked_at_is_read_to_its_end(
    peer: str, entries: list[str], ends: list[int], trusted: TrustedProxies
) -> None:
    cuts = [0, *sorted(end for end in ends if end < len(entries)), len(entries)]
    lines = [entries[start:end] for start, end in pairwise(cuts) if start < end]
    said = [", ".join(line).encode() for line in lines]
    assert client_address(peer, told(said), trusted) == _the_full_walk(peer, entries, trusted)


@pytest.mark.parametrize("lines", [1, 4, 8000])
def test_of_a_longer_list_only_the_right_end_is_looked_at(lines: int) -> None:
    class Counting(TrustedProxies):
        asked = 0

        def __contains__(self, address: str) -> bool:
            self.asked += 1
            return True

    entries = [b"10.%d.%d.1" % divmod(number, 256) for number in range(8000)]
    size = len(entries) // lines
    said = [b", ".join(entries[start : start + size]) for start in range(0, len(entries), size)]
    trusted = Counting()
    assert client_address("10.255.255.1", told(said), trusted).encode() == entries[-32]
    assert trusted.asked == 33


@pytest.mark.parametrize(
    "text", ["", "1.2.3", "1.2.3.4.5", "01.2.3.4", "0x7f.1", "2130706433", "a", "[", "::g", "1::2::3"]
)
def test_what_is_no_address_has_no_normal_form(text: str) -> None:
    assert normal_address(text) is None


def test_the_memory_of_trusted_addresses_is_bounded() -> None:
    trusted = TrustedProxies(["10.0.0.0/8"])

    def ask() -> None:
        for number in range(10_000):
            assert f"11.0.{number >> 8}.{number & 255}" not in trusted

    assert most_held(ask) < 600_000, "4096 at most; all were a million bytes"
    assert "10.1.2.3" in trusted


@pytest.mark.parametrize("network", ["10.0.0.0/8", "::ffff:10.0.0.0/104", "::ffff:0:0/96", "::/0"])
@pytest.mark.parametrize("peer", ["10.1.2.3", "::ffff:10.1.2.3"])
def test_a_network_holds_an_address_however_the_two_are_written(network: str, peer: str) -> None:
    assert (peer in TrustedProxies([network])) is (network != "::/0")
    assert "192.0.2.1" not in TrustedProxies([network]) or network == "::ffff:0:0/96"


def test_a_single_address_is_a_network_too() -> None:
    trusted = TrustedProxies(["fd00::1", "10.0.0.1"])
    assert "fd00::1" in trusted
    assert "10.0.0.1" in trusted
    assert "fd00::2" not in trusted


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        (("10.0.0.1", 80), "10.0.0.1"),
        (("::ffff:10.0.0.1", 80, 0, 0), "10.0.0.1"),
        (("2001:db8::1", 80, 0, 0), "2001:db8::1"),
        (("::ffff:1", 80, 0, 0), "::ffff:1"),
        ("", "unix:"),
        ("/run/client.sock", "unix:"),
        ("10.0.0.1", "unix:"),  # the name of a file, which a client may bind to
        (b"\x0010.0.0.1", "unix:"),
        (None, ""),
    ],
)
def test_the_other_end_is_written_as_everybody_writes_it(peer: object, address: str) -> None:
    assert peer_address(peer) == address


def test_a_text_that_is_too_long_is_no_address() -> None:
    assert normal_address("10.0.0.1".rjust(64)) == "10.0.0.1"
    assert normal_address("10.0.0.1".rjust(65)) is None


def test_networks_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="does not appear"):
        TrustedProxies(["everyone"])


def test_whoever_connects_to_a_unix_socket_is_trusted_only_if_that_is_said() -> None:
    assert "unix:" in FRONT
    assert "unix:" not in TrustedProxies(["0.0.0.0/0", "::/0"])
    assert "10.0.0.1" not in TrustedProxies(["unix:"])
    assert "" not in FRONT
