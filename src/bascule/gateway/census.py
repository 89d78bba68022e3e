"""What only this process knows, in numbers: its leases, sessions, forwarders and routes of JupyterHub.

The status page, the admin API and `/metrics` show them. What is counted for good lies in shared memory
(`bascule.handover.counters`) instead, and outlives this process.

Rules of this file: it only reads what others keep, and never waits.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bascule.admin.view import HubView
    from bascule.gateway.life import Life
    from bascule.gateway.sessions.links import Links
    from bascule.gateway.sessions.registry import Registry
    from bascule.gateway.setup import GatewaySetup
    from bascule.policy.budget import SessionBudget
    from bascule.vocabulary import Kind

__all__ = ["Census"]


class Census:
    """What this gateway knows now.

    Attributes:
        started_at: When the proxy started, in seconds since the epoch.
        reloaded: Whether the configuration that was asked for last, with the files it names, is in force.
    """

    def __init__(
        self,
        setup: GatewaySetup,
        *,
        budget: SessionBudget,
        registry: Registry,
        links: Links,
        life: Life,
        hub: HubView | None,
    ) -> None:
        self.started_at = setup.started_at
        self.reloaded = setup.reloaded
        self._restarts = setup.restarts
        self._forwarder_restarts = list(setup.forwarder_restarts)
        self._slots = range(setup.forwarders)
        self._routes = [route.name for route in setup.config.routes]
        self._budget = budget
        self._registry = registry
        self._links = links
        self._life = life
        self._hub = hub

    @property
    def draining(self) -> bool:
        """Whether new sessions are refused because this instance is going away."""
        return self._life.draining

    def in_flight(self) -> int:
        """Return the leases taken now, and the sessions that a forwarder has not listed yet."""
        return self._budget.in_flight

    def cap(self) -> int:
        """Return maxSessionsPerApp."""
        return self._budget.limit

    def oldest_age(self, now: float) -> float:
        """Return the seconds since the oldest session was admitted, 0.0 without one."""
        oldest = self._budget.oldest
        return 0.0 if oldest is None else max(0.0, now - oldest)

    def sessions_by_kind(self) -> Mapping[Kind, int]:
        """Count the open sessions."""
        return self._registry.by_kind

    def sessions_by_slot(self) -> Mapping[int, int]:
        """Count the open sessions that each forwarder carries."""
        return self._registry.by_slot

    def sessions_by_route(self) -> Mapping[str, int]:
        """Return the leases taken now on each route that is configured."""
        return {name: self._budget.in_use_on(name) for name in self._routes}

    def caps_by_route(self) -> Mapping[str, int]:
        """Return maxSessions of the routes that have it."""
        return self._budget.by_route

    def forwarder_pids(self) -> Sequence[int | None]:
        """Return the process id of each slot; ``None`` while there is none."""
        links = self._links.by_slot
        return [links[slot].pid if slot in links else None for slot in self._slots]

    def other_pids(self) -> tuple[int, int]:
        """Return the ids of the supervisor and of this process."""
        return (os.getppid(), os.getpid())

    def hot_paths(self) -> set[str]:
        """Return which builds of the relay the forwarders run: one, unless an upgrade is under way."""
        return {link.hot_path for link in self._links.by_slot.values()}

    def forwarder_restarts(self) -> Sequence[int]:
        """Return how often each slot was started again."""
        return self._forwarder_restarts

    def set_forwarder_restarts(self, slot: int, restarts: int) -> None:
        """Note how often a slot was started again."""
        self._forwarder_restarts[slot] = restarts

    def gateway_restarts(self) -> int:
        """Return how often the gateway was started again."""
        return self._restarts

    def hub_routes(self) -> int:
        """Return how many routes JupyterHub has added."""
        return 0 if self._hub is None else len(self._hub.routes)

    def hub_instances_failing(self) -> int:
        """Return how many other instances do not share JupyterHub's routes with this one."""
        return 0 if self._hub is None else self._hub.standing.failing
