"""Addresses as operators write them: ``host:port``, ``unix:/path``, networks, origins.

Rules of this file: parsing only, no name is resolved here. Every text that parses
prints back to a text that parses to the same value.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Final, Self

from pydantic import (
    BeforeValidator,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from bascule.configuration.badvalue import malformed, not_allowed
from bascule.configuration.schemapatterns import NETWORK, ORIGIN
from bascule.configuration.socketpath import UNIX_PEER, check_socket_path

__all__ = ["Endpoint", "Listen", "Network", "Origin", "SocketFile", "TrustedProxy", "host_port"]

_HOST_NAME: Final = re.compile(
    r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)"
    r"(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?",
    re.ASCII,
)
_ENDPOINT_ALLOWED: Final = '"host:port", "[::1]:port" or ":port" (all IPv4 addresses), port 0 to 65535'
_LISTEN_ALLOWED: Final = f'{_ENDPOINT_ALLOWED}; or "unix:/path"'
_UNIX_SOCKET: Final = "unix:/"
"""How a Unix socket begins; a host may have the name ``unix``."""
_NETWORK_ALLOWED: Final = 'a network such as "10.0.0.0/8" (no bits set behind the mask) or an address'
_ORIGIN_ALLOWED: Final = (
    'an origin as browsers send it, "https://host" or "https://host:port", in lower case and '
    'without the default port and a path; or "*"'
)
_ORIGIN: Final = re.compile(
    r"https?://(?:[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", re.ASCII
)


def host_port(host: str, port: int) -> str:
    """Return ``host:port``, with brackets around an IPv6 address (RFC 3986 §3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to listen or connect.

    Attributes:
        host: A name or an address, without the brackets of an IPv6 address.
        port: 0 lets the kernel choose one.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return host_port(self.host, self.port)

    @property
    def is_loopback(self) -> bool:
        """Whether only this host can reach it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host.rstrip(".").lower() == "localhost"

    @property
    def is_unspecified(self) -> bool:
        """Whether it stands for every address of this host."""
        try:
            return ip_address(self.host).is_unspecified
        except ValueError:
            return False

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read ``host:port``, ``[::1]:port`` or ``:port``.

        Raises:
            PydanticCustomError: It is none of these.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            if value.strip().startswith(_UNIX_SOCKET):
                allowed = f"{_ENDPOINT_ALLOWED}; not a Unix socket, which has no port"
                raise not_allowed(allowed)
            host, colon, port = value.strip().rpartition(":")
            if colon and re.fullmatch("[0-9]{1,5}", port, re.ASCII) and int(port) <= 65535:
                if host == "":
                    return cls("0.0.0.0", int(port))
                if host[0] == "[" and host[-1] == "]" and _is_ipv6(host[1:-1]):
                    return cls(host[1:-1].lower(), int(port))
                if _HOST_NAME.fullmatch(host) and len(host) <= 253 and _is_name_or_address(host):
                    return cls(host, int(port))
        raise malformed(_ENDPOINT_ALLOWED)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let pydantic parse and print an endpoint."""
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describe an endpoint to editors."""
        return {
            "x-allowed": _ENDPOINT_ALLOWED,
            "type": "string",
            "pattern": r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]*):[0-9]{1,5}$",
        }


def _is_name_or_address(host: str) -> bool:
    """Tell whether a host is a name or an address that exists: no name ends in a number (RFC 1123 §2.1)."""
    if not host.rstrip(".").rpartition(".")[2].isdigit():
        return True
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_ipv6(text: str) -> bool:
    try:
        return ip_address(text).version == 6 and "%" not in text
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class SocketFile:
    """A Unix socket to listen at.

    Attributes:
        path: Of its file, absolute.
    """

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this host can reach it."""
        return True


def _listen(value: object) -> Endpoint | SocketFile:
    if isinstance(value, SocketFile):
        return value
    if isinstance(value, str) and value.strip().startswith(_UNIX_SOCKET):
        try:
            return SocketFile(check_socket_path(value.strip().removeprefix("unix:")))
        except ValueError as error:
            raise not_allowed(str(error)) from None
    return Endpoint.parse(value)


Listen = Annotated[
    Endpoint | SocketFile,
    PlainValidator(_listen),
    PlainSerializer(str, return_type=str),
    WithJsonSchema(
        {
            "x-allowed": _LISTEN_ALLOWED,
            "type": "string",
            "pattern": r"^((\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]*):[0-9]{1,5}|unix:/.*[^/])$",
        }
    ),
]
"""Where to listen: an endpoint, or ``unix:/path``."""


def _network(value: object) -> IPv4Network | IPv6Network:
    if isinstance(value, (IPv4Network, IPv6Network)):
        return value
    if isinstance(value, str):
        try:
            return ip_network(value.strip())
        except ValueError:
            pass
    raise malformed(_NETWORK_ALLOWED)


Network = Annotated[
    IPv4Network | IPv6Network,
    BeforeValidator(_network),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"x-allowed": _NETWORK_ALLOWED, "type": "string", "pattern": NETWORK}),
]
"""A network in CIDR form; one address is a network of itself."""


def _trusted(value: object) -> IPv4Network | IPv6Network | str:
    return UNIX_PEER if value == UNIX_PEER else _network(value)


TrustedProxy = Annotated[
    IPv4Network | IPv6Network | str,
    PlainValidator(_trusted),
    PlainSerializer(str, return_type=str),
    WithJsonSchema(
        {
            "x-allowed": f'{_NETWORK_ALLOWED}; or "{UNIX_PEER}"',
            "type": "string",
            "pattern": f"{NETWORK}|^{UNIX_PEER}$",
        }
    ),
]
"""A network, or ``unix:``."""


def _origin(value: object) -> str:
    if isinstance(value, str) and (value == "*" or _ORIGIN.fullmatch(value)):
        port = value.rpartition(":")[2] if value.count(":") > 1 and not value.endswith("]") else ""
        default = {"http": "80", "https": "443"}.get(value.partition(":")[0])
        if not port.isdigit() or (port != default and 1 <= int(port) <= 65535 and port[0] != "0"):
            return value
    raise malformed(_ORIGIN_ALLOWED)


Origin = Annotated[
    str,
    BeforeValidator(_origin),
    WithJsonSchema({"x-allowed": _ORIGIN_ALLOWED, "type": "string", "pattern": ORIGIN}),
]
"""A serialised origin (RFC 6454 §6.2), compared byte by byte with what browsers send."""
