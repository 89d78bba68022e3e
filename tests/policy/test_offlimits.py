"""Where a host may not be that a URL named (45)."""

from __future__ import annotations

import pytest

from bascule.policy.offlimits import off_limits, unmapped

LOOPBACK = "a loopback address"
UNSPECIFIED = "an unspecified address"
LINK_LOCAL = "a link-local address"
MULTICAST = "a multicast address"
METADATA = "an address of a metadata service"


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("127.0.0.1", LOOPBACK),
        ("127.255.255.254", LOOPBACK),
        ("::1", LOOPBACK),
        ("0.0.0.0", UNSPECIFIED),
        ("::", UNSPECIFIED),
        ("169.254.169.254", LINK_LOCAL),
        ("fe80::1", LINK_LOCAL),
        ("fe80::1%eth0", LINK_LOCAL),
        ("224.0.0.1", MULTICAST),
        ("ff02::1", MULTICAST),
        ("fd00:ec2::254", METADATA),
        ("168.63.129.16", METADATA),
    ],
)
def test_45_what_leads_into_this_host_is_off_limits(host: str, kind: str) -> None:
    assert off_limits(host) == kind


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("::ffff:127.0.0.1", LOOPBACK),
        ("::ffff:0:0", UNSPECIFIED),
        ("::ffff:a9fe:a9fe", LINK_LOCAL),
        ("2002:7f00:1::1", LOOPBACK),
        ("2002:a9fe:a9fe::", LINK_LOCAL),
        ("64:ff9b::127.0.0.1", LOOPBACK),
        ("64:ff9b::169.254.169.254", LINK_LOCAL),
        ("2001:0:a00:1::80ff:fffe", LOOPBACK),
        ("64:ff9b::100.100.100.200", METADATA),
    ],
)
def test_45_no_spelling_of_ipv6_hides_an_address_that_is(host: str, kind: str) -> None:
    assert off_limits(host) == kind


@pytest.mark.parametrize(
    "host",
    [
        "10.0.0.7", "192.168.1.1", "100.64.0.1", "203.0.113.9", "128.0.0.1", "2001:db8::1", "fd00::7",
        "::ffff:10.0.0.7", "2002:a00:7::1", "64:ff9b::10.0.0.7", "64:ff9b:1::127.0.0.1",
        "2001:0:a00:1::f5ff:fff8",
    ],
)  # fmt: skip
def test_where_pods_and_other_hosts_are_is_not(host: str) -> None:
    assert off_limits(host) is None


def test_an_ipv4_mapped_address_is_read_as_the_one_that_it_holds() -> None:
    assert unmapped("::ffff:10.0.0.7") == unmapped("10.0.0.7")
    assert unmapped("fd00::7") != unmapped("10.0.0.7")
