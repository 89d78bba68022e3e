"""Addresses are tried in turn, with equal shares of the time that is left."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

import pytest

from bascule.gateway.upstreams.candidates import Candidates

if TYPE_CHECKING:
    from bascule.gateway.upstreams.resolver import Address

ADDRESSES: list[Address] = [(socket.AF_INET, (f"10.0.0.{number}", 80)) for number in range(3)]

REFUSED = OSError(errno.ECONNREFUSED, "connect")
TIMED_OUT = TimeoutError()
NO_IPV6 = OSError(errno.EAFNOSUPPORT, "socket")
NO_DESCRIPTOR = OSError(errno.EMFILE, "socket")


def test_each_has_an_equal_share_of_the_time_that_is_left() -> None:
    candidates = Candidates(ADDRESSES, 6.0)
    assert (candidates.address, candidates.left, candidates.share) == (ADDRESSES[0], 3, 2.0)
    candidates.failed(REFUSED, 0.0)
    assert (candidates.address, candidates.left, candidates.share) == (ADDRESSES[1], 2, 3.0)
    candidates.failed(REFUSED, 3.0)
    assert (candidates.address, candidates.left, candidates.share) == (ADDRESSES[2], 1, 3.0)
    candidates.failed(REFUSED, 3.0)
    assert not candidates.left


@pytest.mark.parametrize(
    ("failures", "told"),
    [
        ((TIMED_OUT, REFUSED), REFUSED),
        ((REFUSED, TIMED_OUT), TIMED_OUT),
        ((NO_IPV6, REFUSED), REFUSED),
        ((NO_DESCRIPTOR, REFUSED), REFUSED),
        ((REFUSED, NO_IPV6), REFUSED),
        ((NO_IPV6, NO_DESCRIPTOR), NO_IPV6),
    ],
)
def test_the_last_fault_of_an_upstream_is_told_rather_than_ours(
    failures: tuple[OSError, ...], told: OSError
) -> None:
    candidates = Candidates(ADDRESSES, 6.0)
    for failure in failures:
        candidates.failed(failure, 0.0)
    assert candidates.failure is told


def test_without_an_address_there_is_no_way() -> None:
    assert Candidates([], 6.0).failure.errno == errno.EHOSTUNREACH
