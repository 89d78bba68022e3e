"""What a gateway is told when it starts. It is a copy of the supervisor, so it is told in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bascule.handover.setup import INHERITED, ChildSetup

if TYPE_CHECKING:
    from bascule.configuration.config import Config

__all__ = ["PROCESS_NAME", "GatewaySetup"]

PROCESS_NAME: Final = "bascule-gateway"
"""The name of a gateway's process, as ``ps -o comm`` shows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySetup(ChildSetup):
    """What a gateway is told.

    Attributes:
        config: The configuration in force.
        sources: Where each value of the configuration came from (dotted path to source).
        places: Where each value that is no default stands; see `bascule.configuration.loading.Loaded`.
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

    config: Config
    sources: dict[str, str]
    places: dict[str, str] = field(default_factory=dict)
    public: int = field(metadata=INHERITED)
    admin: int = field(metadata=INHERITED)
    redirect: int = field(default=-1, metadata=INHERITED)
    figures: int = field(metadata=INHERITED)
    hub: int = field(metadata=INHERITED)
    place: int = 0
    generation: int = 0
    restarts: int = 0
    forwarder_restarts: list[int]
    successor: bool = False
    started_at: float = 0.0
    draining: float | None = None
    reloaded: bool = True
