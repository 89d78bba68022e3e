"""What a child process is told when it starts: one JSON text on an inherited descriptor.

Arguments would show the configuration (a token's file name, an upstream's address) in
``ps``; the environment would leak it to grandchildren.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass, field
from typing import Final

from bascule._version import __version__

OTHER_VERSION: Final = 3
"""Exit status of a child that finds itself of another version than the supervisor that started it.

Messages and shared counters have the layout of one version, and after an upgrade in place a child comes from
the new code while the supervisor is of the old.
"""


@dataclass(frozen=True, slots=True)
class ChildSetup:
    """The start parameters of a gateway or forwarder.

    Attributes:
        config: The configuration, as `Config.model_dump_json` wrote it.
        sources: Where each value came from (dotted path to source).
        control: Descriptor of the channel to the supervisor.
        counters: Descriptor of the counter file.
        forwarders: Number of forwarder slots.
        slot: Slot of this forwarder; -1 for the gateway.
        public: Descriptor of the public listening socket (gateway only, else -1).
        admin: Descriptor of the admin listening socket (gateway only, else -1).
        place: Of a gateway: which block of the counters is its own.
        generation: How many gateways there were before this one, which makes ids unique.
        redirect: Descriptor of the listening socket of redirects (gateway only, else -1; -1 without one).
        figures: Descriptor of the journal of what the former gateway had measured (gateway only, else -1).
        hub: Descriptor of the journal of JupyterHub's routes (gateway only, else -1).
        restarts: How many of them died while they served.
        forwarder_restarts: How often each forwarder slot was started again (gateway only, else empty).
        successor: Whether another gateway serves, which this one is to take over from when it is told to.
        started_at: Unix time at which the whole proxy was started, in seconds.
        draining: When a gateway before this one began to drain, monotonic, in seconds; ``None`` if none did.
        reloaded: Whether the configuration in force is what was to be loaded last.
    """

    config: str
    sources: dict[str, str]
    control: int
    counters: int
    forwarders: int
    slot: int
    public: int = -1
    admin: int = -1
    redirect: int = -1
    figures: int = -1
    hub: int = -1
    place: int = 0
    generation: int = 0
    restarts: int = 0
    forwarder_restarts: list[int] = field(default_factory=list)
    successor: bool = False
    started_at: float = 0.0
    draining: float | None = None
    reloaded: bool = True

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
    def read(cls) -> ChildSetup:
        """Read it from the descriptor named by the only argument, and close that.

        Raises:
            SystemExit: With `OTHER_VERSION`.
        """
        with os.fdopen(int(sys.argv[1])) as file:
            told = json.load(file)
        if told.pop("version", None) != __version__:
            sys.exit(OTHER_VERSION)
        return cls(**told)
