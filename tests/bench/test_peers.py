"""What every proxy under test is given."""

import socket
from pathlib import Path

import pytest
from bench.peers import base


@pytest.fixture
def ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> range:
    """All that may be given: those below what the kernel chooses from."""
    setting = tmp_path / "ip_local_port_range"
    setting.write_text("10040\t60999\n")
    monkeypatch.setattr(base, "CHOSEN_BY_KERNEL", setting)
    monkeypatch.setattr(base, "_given", set())
    return range(10_000, 10_040)


def test_no_port_is_given_twice_nor_one_that_a_connection_may_get(ports: range) -> None:
    """Proxies that start side by side listen later than they are told where."""
    given = [port for _ in range(5) for port in base.free_ports(3)]
    assert len(set(given)) == 15
    assert set(given) <= set(ports)


def test_no_port_is_given_that_somebody_has(ports: range) -> None:
    """One is taken while the others are asked for."""
    (taken,) = base.free_ports(1)
    base._given.clear()
    with socket.socket() as theirs:
        theirs.bind(("127.0.0.1", taken))
        assert taken not in base.free_ports(len(ports) - 1)
