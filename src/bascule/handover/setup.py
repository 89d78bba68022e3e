"""What a child process is told when it starts: one JSON text on an inherited descriptor.

Arguments would show the configuration (a token's file name, an upstream's address) in
``ps``; the environment would leak it to grandchildren.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass, field, fields
from typing import Final, Self

from bascule._version import __version__

__all__ = ["OTHER_VERSION", "ChildSetup", "ForwarderSetup", "GatewaySetup"]

OTHER_VERSION: Final = 3
"""Exit status of a child whose version is not that of the supervisor that started it.

After an upgrade in place a new child runs the new code while the supervisor still runs the old, and the
layout of messages and shared counters may differ between them.
"""


_INHERITED: Final = {"inherited": True}
"""Metadata of a field that is a descriptor: the child inherits it under the same number."""


@dataclass(frozen=True, slots=True)
class ChildSetup:
    """What every child is told.

    Attributes:
        control: Descriptor of the channel to the supervisor.
        counters: Descriptor of the counter file.
        forwarders: Number of forwarder slots.
    """

    control: int = field(metadata=_INHERITED)
    counters: int = field(metadata=_INHERITED)
    forwarders: int

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The descriptors that the child inherits; -1 in a field stands for none."""
        named = (getattr(self, one.name) for one in fields(self) if one.metadata == _INHERITED)
        return tuple(descriptor for descriptor in named if descriptor >= 0)

    def write(self) -> int:
        """Write it to a memory file and return the descriptor, rewound, for the child.

        Raises:
            OSError: There is no memory, or no descriptor.
        """
        descriptor = os.memfd_create("bascule-setup", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, json.dumps({"version": __version__, **asdict(self)}).encode())
        except OSError:
            os.close(descriptor)
            raise
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor

    @classmethod
    def read(cls) -> Self:
        """Read it from the descriptor named by the only argument, and close that.

        Raises:
            SystemExit: With `OTHER_VERSION`.
        """
        with os.fdopen(int(sys.argv[1])) as file:
            told = json.load(file)
        if told.pop("version", None) != __version__:
            sys.exit(OTHER_VERSION)
        return cls(**told)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwarderSetup(ChildSetup):
    """What a forwarder is told besides.

    These numbers are all that it needs of the configuration, and so all that it gets: the models that check
    one would take more memory than everything else in it, and two thirds of the time of its start.

    Attributes:
        slot: Its own slot.
        read_buffer_bytes: ``forwarders.readBufferBytes``.
        heartbeat_ms: ``heartbeatIntervalMs``.
        pong: ``limits.pongTimeout``, in seconds.
        idle_ms: ``sessionIdleTimeoutMs``.
        closing: ``limits.closingHandshakeTimeout``, in seconds.
    """

    slot: int
    read_buffer_bytes: int
    heartbeat_ms: int
    pong: float
    idle_ms: int
    closing: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySetup(ChildSetup):
    """What a gateway is told besides.

    Attributes:
        config: The configuration, as `Config.model_dump_json` wrote it.
        sources: Where each value of the configuration came from (dotted path to source).
        public: Descriptor of the public listening socket.
        admin: Descriptor of the admin listening socket.
        redirect: Descriptor of the listening socket of redirects; -1 without one.
        figures: Descriptor of the journal of what the former gateway had measured.
        hub: Descriptor of the journal of JupyterHub's routes.
        place: The number of its own block of the counters.
        generation: How many gateways there were before this one, which makes ids unique.
        restarts: How many of them died while they served.
        forwarder_restarts: How often each forwarder slot was started again.
        successor: Whether another gateway still serves; this one takes over from it when it gets `Serve`.
        started_at: Unix time at which the whole proxy was started, in seconds.
        draining: When a gateway before this one began to drain, monotonic, in seconds; ``None`` if none did.
        reloaded: Whether the configuration in force is the one that the last reload, if any, was to load.
    """

    config: str
    sources: dict[str, str]
    public: int = field(metadata=_INHERITED)
    admin: int = field(metadata=_INHERITED)
    redirect: int = field(default=-1, metadata=_INHERITED)
    figures: int = field(metadata=_INHERITED)
    hub: int = field(metadata=_INHERITED)
    place: int = 0
    generation: int = 0
    restarts: int = 0
    forwarder_restarts: list[int]
    successor: bool = False
    started_at: float = 0.0
    draining: float | None = None
    reloaded: bool = True
