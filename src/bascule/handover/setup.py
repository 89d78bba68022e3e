"""What a child process is told when it starts; a forwarder, by a JSON text on an inherited descriptor."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass, field, fields
from typing import Final, Self

from bascule._version import __version__

__all__ = ["INHERITED", "OTHER_VERSION", "ChildSetup", "ForwarderSetup"]

OTHER_VERSION: Final = 3
"""Exit status of a forwarder whose version is not that of the supervisor that started it.

After an upgrade in place a new forwarder runs the new code while the supervisor still runs the old, and the
layout of messages and shared counters may differ between them.
"""


INHERITED: Final = {"inherited": True}
"""Metadata of a field that is a descriptor: the child inherits it under the same number."""


@dataclass(frozen=True, slots=True)
class ChildSetup:
    """What every child is told.

    Attributes:
        control: Descriptor of the channel to the supervisor.
        counters: Descriptor of the counter file.
        forwarders: Number of forwarder slots.
        prints: Descriptor to which it prints whatever is no line of the log, such as its stack when it
            crashes or hangs.
    """

    control: int = field(metadata=INHERITED)
    counters: int = field(metadata=INHERITED)
    forwarders: int
    prints: int = 2

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The descriptors that the child inherits; -1 in a field stands for none."""
        named = (getattr(self, one.name) for one in fields(self) if one.metadata == INHERITED)
        return tuple(descriptor for descriptor in named if descriptor >= 0)


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
