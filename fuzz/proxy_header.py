"""PROXY headers of load balancers, versions 1 and 2."""

from __future__ import annotations

from ipaddress import ip_address

from bascule.protocol.proxyheader import LONGEST, BadProxyHeader, ProxyHeader, parse_proxy_header
from fuzz.running import run


def check(data: bytes) -> None:
    """A header is read, waited for or refused, whatever follows it and wherever it is cut."""
    header = _read(data)
    assert header is None or _read(data + b"\r\n") == header
    if header is None:
        assert len(data) < LONGEST, "what is waited for has an end"
    elif isinstance(header, ProxyHeader):
        length, address, _ = header
        assert 0 < length <= min(len(data), LONGEST)
        assert _read(data[:length]) == header
        assert _read(data[: length - 1]) is None
        assert address is None or str(ip_address(address)) == address


def _read(data: bytes) -> ProxyHeader | str | None:
    """Return the header, why it is refused, or ``None`` where it is not whole."""
    try:
        return parse_proxy_header(data)
    except BadProxyHeader as refused:
        return str(refused)


if __name__ == "__main__":
    run(check)
