"""What a URL names leads neither into this host nor to our own listeners (45)."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

import pytest

from bascule.gateway.upstreams.fence import AddressRefused, Fence
from tests.support.fewdescriptors import no_descriptors_left
from tests.support.network import own_addresses

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ELSEWHERE = "203.0.113.9"
"""An address of no host at all (RFC 5737)."""

LISTENER = "name resolves to a listener of our own"


@pytest.fixture
def here() -> Iterator[tuple[str, ...]]:
    """Return addresses of this host that are not on its loopback: two of one network, and one of IPv6."""
    with own_addresses("10.9.8.7/24", "10.9.8.8/24", "fd00:9::7/64") as addresses:
        yield addresses


def passed(fence: Fence, *hosts: str, port: int = 80) -> list[str]:
    return fence.permitted(hosts, lambda host: (host, port))


def test_of_several_addresses_those_that_are_off_limits_are_left_out() -> None:
    assert passed(Fence(()), "127.0.0.1", ELSEWHERE, "::1", "fd00::9") == [ELSEWHERE, "fd00::9"]


def test_a_name_that_has_no_other_address_is_refused_with_what_was_found() -> None:
    with pytest.raises(AddressRefused, match=r"^name resolves to a link-local address$"):
        passed(Fence(()), "169.254.169.254", "127.0.0.1")


@pytest.mark.parametrize("bound", ["0.0.0.0", "10.9.8.7"])
def test_45_an_address_of_this_host_is_refused_at_a_port_where_we_listen(
    here: tuple[str, ...], bound: str
) -> None:
    with socket.create_server((bound, 0)) as listening:
        fence, port = Fence((listening.fileno(),)), listening.getsockname()[1]
        for host in (here[0], f"::ffff:{here[0]}"):
            with pytest.raises(AddressRefused, match=f"^{LISTENER}$"):
                passed(fence, host, port=port)
        assert passed(fence, here[0], port=port ^ 1) == [
            here[0]
        ]  # what else listens on this host is not ours
        assert passed(fence, ELSEWHERE, port=port) == [ELSEWHERE]
        assert listening.fileno() >= 0


def test_45_so_is_a_second_address_of_a_network_to_which_the_kernel_connects_from_the_first(
    here: tuple[str, ...],
) -> None:
    with socket.create_server(("", 0)) as listening:
        where = (here[1], listening.getsockname()[1])
        with socket.create_connection(where) as connection:
            assert connection.getsockname()[0] == here[0], "comparing both ends would do"
        with pytest.raises(AddressRefused, match=f"^{LISTENER}$"):
            passed(Fence((listening.fileno(),)), where[0], port=where[1])


def test_45_a_listener_at_every_address_of_ipv6_is_one_at_those_of_ipv4_too(here: tuple[str, ...]) -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listening:
        fence, port = Fence((listening.fileno(),)), listening.getsockname()[1]
        for host in here:
            with pytest.raises(AddressRefused, match=f"^{LISTENER}$"):
                passed(fence, host, port=port)


def test_another_server_at_another_address_may_have_our_port(here: tuple[str, ...]) -> None:
    with socket.create_server((here[0], 0)) as listening:
        fence, port = Fence((listening.fileno(),)), listening.getsockname()[1]
        assert passed(fence, *here, port=port) == list(here[1:])
    with socket.create_server(("", 0)) as listening:
        fence, port = Fence((listening.fileno(),)), listening.getsockname()[1]
        assert passed(fence, *here, port=port) == [here[2]]  # we listen at none of IPv6


def test_a_listener_at_a_unix_socket_is_at_no_address(socket_folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(socket_folder / "s"))
        assert passed(Fence((listening.fileno(),)), ELSEWHERE) == [ELSEWHERE]


def test_what_cannot_be_found_out_for_want_of_a_descriptor_is_not_permitted() -> None:
    with socket.create_server(("", 0)) as listening:
        fence, port = Fence((listening.fileno(),)), listening.getsockname()[1]
        with no_descriptors_left(), pytest.raises(OSError) as failed:  # noqa: PT011 - the number is compared
            passed(fence, ELSEWHERE, port=port)
    assert failed.value.errno == errno.EMFILE
