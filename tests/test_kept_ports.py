"""Ports that are kept go to who names them, and not to who takes any."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.network import own_network
from tests.support.processes import kept_ports

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
FIRST, LAST = 40_000, 40_019


@pytest.mark.skipif(not os.access(RANGE, os.W_OK), reason="the kernel's choice cannot be narrowed here")
def test_a_port_that_is_kept_goes_to_who_names_it_and_to_nobody_else() -> None:
    with own_network(), ExitStack() as stack:
        RANGE.write_text(f"{FIRST} {LAST}")
        free = set(range(FIRST, LAST + 1))
        ports = stack.enter_context(kept_ports(8))
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", port))) for port in ports[:4]]
        browsers = [
            stack.enter_context(socket.create_connection(listeners[0].getsockname())) for _ in range(6)
        ]
        others = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(6)]
        taken = {each.getsockname()[1] for each in browsers + others}
    assert len(taken) == 12
    assert taken == free - set(ports)
