"""The listening sockets: the supervisor binds them, so that they outlive every gateway."""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import structlog

from bascule.configuration.endpoints import Endpoint, SocketFile, host_port
from bascule.errors import ConfigError
from bascule.policy.socketoptions import session_options
from bascule.supervisor.socketfiles import SocketPlace, bind_socket_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bascule.configuration.config import Config, Sockets

__all__ = ["Listeners", "address", "check_options", "listen", "url"]

_log = structlog.get_logger()

_LOOK_EVERY: Final = 0.1
"""Seconds between two tries to bind an address that another process has."""

_ALLOWED: Final = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")

_WHY: Final = {
    errno.ENOENT: "its directory does not exist",
    errno.EACCES: "the permissions of its directory do not allow it",
    errno.EEXIST: "there is a file that is no socket",
}
"""Clearer words than the kernel's, for an address that is a file."""

_LONGEST_NAME: Final = 16
"""Most bytes of the name of a congestion control: ``TCP_CA_NAME_MAX``."""


@dataclass(frozen=True, slots=True)
class Listeners:
    """The listening sockets of one proxy.

    Attributes:
        public: For browsers.
        admin: For operators.
        redirect: For browsers that are redirected to https; ``None`` if none is configured.
        places: By field of the configuration, the files of Unix sockets that we have not removed yet.
    """

    public: socket.socket
    admin: socket.socket
    redirect: socket.socket | None = None
    places: dict[str, SocketPlace] = field(default_factory=dict)

    @classmethod
    def open(cls, config: Config, patience: float = 0.0) -> Self:
        """Bind all sockets, the public one last, which a former proxy that stops closes first.

        So when the public address is ours, the admin address is ours as well: a client that waits for the
        first never asks the former proxy at the second.

        Args:
            config: The addresses.
            patience: Seconds to wait for an address that another process has.

        Raises:
            ConfigError: An address cannot be bound; names the field. Nothing stays bound.
        """
        give_up_at = time.monotonic() + patience
        places: dict[str, SocketPlace] = {}
        with contextlib.ExitStack() as bound:

            def taken(where: Endpoint | SocketFile, key: str) -> socket.socket:
                listening = bound.enter_context(_listen_once_free(config, where, key, give_up_at))
                if isinstance(where, SocketFile):
                    places[key] = SocketPlace.of(where.path)
                    bound.callback(places[key].remove)
                return listening

            admin = taken(config.admin, "admin")
            redirect = None
            if (endpoint := config.tls.redirect_from) is not None:
                redirect = taken(endpoint, "tls.redirectFrom")
            public = taken(config.listen, "listen")
            bound.pop_all()
            return cls(public, admin, redirect, places)

    def close_public(self) -> None:
        """Close the sockets for browsers; closing twice is harmless.

        A Unix socket's file is removed before the socket is closed: in between, another proxy would take
        it for the file of a dead process.
        """
        self._remove("listen")
        self.public.close()
        if self.redirect is not None:
            self.redirect.close()

    def close(self) -> None:
        """Close all; closing twice is harmless."""
        self.close_public()
        self._remove("admin")
        self.admin.close()

    def _remove(self, key: str) -> None:
        """Remove a socket's file, once: when the socket is closed, another file may get its inode number."""
        if (place := self.places.pop(key, None)) is not None:
            place.remove()

    def set_options(self, sockets: Sockets) -> None:
        """Set other options for the connections that are accepted from now on.

        After an error, some sockets may have the new options and others not.

        Raises:
            ConfigError: The kernel does not take the congestion control: see `check_options`.
            OSError: There is no descriptor left, or the kernel does not take another option.
        """
        with socket.socket() as fresh:  # without a congestion control of its own it has the node's
            nodes = fresh.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _LONGEST_NAME)
        for listening in self._all():
            if listening.family is not socket.AF_UNIX:
                listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, nodes.rstrip(b"\0"))
                _set_options(listening, sockets)
            listening.listen(sockets.backlog)

    def _all(self) -> Iterator[socket.socket]:
        yield from (self.public, self.admin)
        if self.redirect is not None:
            yield self.redirect


def check_options(sockets: Sockets) -> None:
    """Check that the kernel takes the options of the browser's side.

    Raises:
        ConfigError: The kernel does not take one; names the field.
    """
    try:
        with socket.socket() as probe:
            _set_options(probe, sockets)
    except OSError as error:
        raise ConfigError([f"sockets: {error.strerror or error}"]) from error


def listen(config: Config, where: Endpoint | SocketFile, key: str) -> socket.socket:
    """Bind and listen.

    The options of sessions are set here, once: on Linux every accepted TCP connection inherits them. So
    connections of operators, and of redirected browsers, also end when the peer is gone or takes nothing.

    Raises:
        ConfigError: The address cannot be bound, or the kernel does not take an option; names the field.
    """
    try:
        if isinstance(where, SocketFile):
            # No option is set: accepted Unix connections would not inherit it.
            mode = config.admin_mode if key == "admin" else config.listen_mode
            listening = bind_socket_file(where.path, int(mode, 8))
        else:
            listening = _bound_port(config, where)
        try:
            listening.listen(config.sockets.backlog)
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        why = error.strerror or str(error)
        if isinstance(where, SocketFile):
            why = _WHY.get(error.errno or 0, why)
        raise ConfigError([f"{key}: cannot listen on {where}: {why}"]) from error
    return listening


def _bound_port(config: Config, endpoint: Endpoint) -> socket.socket:
    """Bind to a port.

    Raises:
        ConfigError: The kernel does not take an option.
        OSError: The address cannot be bound.
    """
    found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    # A name may stand for several; a listener is one socket.
    family, *_, where = min(found, key=lambda each: each[0] != socket.AF_INET)
    listening = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _set_options(listening, config.sockets)
        listening.bind(where)
    except BaseException:
        listening.close()
        raise
    return listening


def _listen_once_free(
    config: Config, where: Endpoint | SocketFile, key: str, give_up_at: float
) -> socket.socket:
    """Listen as soon as nobody else does.

    Raises:
        ConfigError: See `listen`; an address in use is an error only if it still is at ``give_up_at``.
    """
    is_told = False
    while True:
        try:
            return listen(config, where, key)
        except ConfigError as error:
            cause = error.__cause__
            is_taken = isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE
            if not is_taken or time.monotonic() >= give_up_at:
                raise
        if not is_told:
            is_told = True
            _log.warning("waiting for an address that is in use", field=key, address=str(where))
        time.sleep(_LOOK_EVERY)


def _set_options(listening: socket.socket, sockets: Sockets) -> None:
    """Set the options of the browser's side.

    Raises:
        ConfigError: The kernel has no such congestion control, or allows it to root alone.
        OSError: Another option failed.
    """
    for level, option, value in session_options(sockets, browser=True):
        try:
            listening.setsockopt(level, option, value)
        except OSError as error:
            if option != socket.TCP_CONGESTION:
                raise
            problem = (
                f'sockets.congestionControl: found "{sockets.congestion_control}"; allowed: {_allowed()}'
            )
            raise ConfigError([problem]) from error


def _allowed() -> str:
    """Name the congestion controls that this process may choose."""
    names = _ALLOWED.read_text().split() if _ALLOWED.exists() else []
    return ", ".join(f'"{name}"' for name in sorted(names)) or "what the kernel allows"


def address(listening: socket.socket) -> str:
    """Return where a socket listens, as ``host:port`` or ``unix:/path``."""
    if listening.family is socket.AF_UNIX:
        return str(SocketFile(listening.getsockname()))
    return host_port(*listening.getsockname()[:2])


def url(listening: socket.socket, *, secure: bool = False, path: str = "/") -> str | None:
    """Return the URL by which a browser on this host reaches a socket; ``None`` for a Unix socket.

    Args:
        listening: The socket.
        secure: Whether it speaks TLS.
        path: The page to open there.
    """
    if listening.family is socket.AF_UNIX:
        return None
    found = Endpoint(*listening.getsockname()[:2])
    here = Endpoint("localhost", found.port) if found.is_unspecified else found
    return f"{'https' if secure else 'http'}://{here}{path}"
