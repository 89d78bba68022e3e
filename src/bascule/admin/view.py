"""What the admin listener may see of a running gateway, and the few things it may do.

Rules of this file: plain frozen data and one protocol; no I/O, no web framework
beyond the request type that `GatewayView.authenticated` needs. The gateway
implements `GatewayView`; everything else in this package knows only that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bascule.errors import BasculeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from aiohttp import web

    from bascule.admin.hubstanding import HubStanding
    from bascule.configuration.config import Config
    from bascule.configuration.hubroute import HubRoute
    from bascule.handover.counters import CounterFile
    from bascule.policy.hubchanges import Change
    from bascule.telemetry.exposition import Answer
    from bascule.vocabulary import Level

__all__ = [
    "DurationSummary",
    "ForwarderRow",
    "GatewayView",
    "HubActivityView",
    "HubRoutesView",
    "HubView",
    "InstanceCapacity",
    "Retired",
    "SessionRow",
    "Unheard",
]


class Unheard(BasculeError):
    """A forwarder cannot be told anything now: its channel is full, or there is none; asking again helps."""


class Retired(BasculeError):
    """This gateway no longer takes routes, since another takes over; asking again helps."""


@dataclass(frozen=True, slots=True)
class InstanceCapacity:
    """The cap of this instance and how much of it is taken.

    Attributes:
        name: Its name: the pod's on Kubernetes.
        in_flight: Sessions that hold a lease; the value of `ws_connection_in_flight_count`.
        max: The cap, `maxSessionsPerApp`.
        level: What the instance badge shows (`bascule.admin.capacity.level`); critical while draining.
        draining: Whether it takes no new sessions.
    """

    name: str
    in_flight: int
    max: int
    level: Level
    draining: bool = False


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One live session.

    Attributes:
        id: Hexadecimal, unique for the life of the instance.
        route: The route's name, never the raw path.
        kind: One of `bascule.vocabulary.Kind`.
        user: The signed-in user, or the owner of the JupyterHub server; ``None`` where there is neither.
        client: The browser's address, without a port.
        upstream: Where it leads, ``host:port`` or ``unix:/path``.
        forwarder: Slot of the forwarder that carries it.
        age: Seconds since admission.
        idle: Seconds since the last data frame in either direction.
        round_trip: Seconds that the browser took to answer the latest ping; ``None`` if it has answered none.
        bytes_in: Payload bytes towards the upstream.
        bytes_out: Payload bytes towards the browser.
        frames_in: Data frames towards the upstream.
        frames_out: Data frames towards the browser.
    """

    id: str
    route: str
    kind: str
    user: str | None
    client: str
    upstream: str
    forwarder: int
    age: float
    idle: float
    round_trip: float | None
    bytes_in: int
    bytes_out: int
    frames_in: int
    frames_out: int


@dataclass(frozen=True, slots=True)
class ForwarderRow:
    """One forwarder process.

    Attributes:
        slot: Its number, which its successor keeps.
        pid: Process id; 0 while it is being restarted.
        sessions: Sessions it carries now.
        cpu_cores: Cores in use over the last window; 0 on the first reading.
        cpu_seconds: CPU time of all processes that this slot has had.
        wait_seconds: Time spent runnable but not running: it wanted a core and had none.
        rss_bytes: Resident memory.
        restarts: How often this slot was started again.
        hot_path: ``compiled`` or ``pure``.
    """

    slot: int
    pid: int
    sessions: int
    cpu_cores: float
    cpu_seconds: float
    wait_seconds: float
    rss_bytes: int
    restarts: int
    hot_path: str


@dataclass(frozen=True, slots=True)
class DurationSummary:
    """How long recently closed sessions lasted, in seconds; NaN where nothing recent is left.

    Attributes:
        count: Sessions ever closed.
        total: Sum of their durations.
        maximum: Longest in the reservoir.
        mean: Weighted mean of the reservoir.
        quantiles: Value by quantile (0.5, 0.75, 0.95, 0.98, 0.99, 0.999).
    """

    count: int
    total: float
    maximum: float
    mean: float
    quantiles: Mapping[float, float]


class HubRoutesView(Protocol):
    """JupyterHub's routes as the admin API sees them."""

    def __len__(self) -> int:
        """Return the number of routes."""

    def __iter__(self) -> Iterator[HubRoute]:
        """Return all routes."""

    def get(self, routespec: str) -> HubRoute | None:
        """Return a route."""

    def put(self, routespec: str, data: Mapping[str, object]) -> Change:
        """Add or replace a route; return what the other instances are to be told.

        Raises:
            ValueError: It cannot be used; the text says why.
            Retired: Ask again.
            OSError: There is no memory; nothing was changed.
        """

    def remove(self, routespec: str) -> Change | None:
        """Remove a route; return what other instances are to be told, ``None`` if there was no such route.

        Its open sessions go on.

        Raises:
            Retired: Ask again.
            OSError: There is no memory; nothing was changed.
        """

    async def keep_activity(self) -> None:
        """Keep for the next gateway what has become active since this was last called.

        Cancellation: safe.
        """

    @property
    def digest(self) -> str:
        """A text that is the same on instances with the same routes."""

    def changes(self) -> Iterator[Change]:
        """Yield the changes that give another instance these routes; routes may change meanwhile."""

    def merge(self, change: Change) -> bool:
        """Apply a change that another instance was told, unless a later one is known; tell whether it was.

        Raises:
            ValueError: It cannot be used here; nothing was changed.
            Retired: Ask again.
            OSError: There is no memory; nothing was changed.
        """


class HubActivityView(Protocol):
    """Activity on JupyterHub's routes as the admin API sees it; each route has the time of its latest."""

    def observe(self, sessions: Iterable[SessionRow]) -> None:
        """Note on which of all sessions a browser has sent something since this was last called."""

    def heard(self, routespec: str, at: float) -> None:
        """Note that a route had activity at that time, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class HubView:
    """What a gateway knows of JupyterHub.

    Attributes:
        routes: The routes.
        activity: Their activity.
        standing: Whether they are those of the other instances.
    """

    routes: HubRoutesView
    activity: HubActivityView
    standing: HubStanding


class GatewayView(Protocol):
    """The gateway as the admin API sees it.

    Nothing here blocks: the synchronous members read memory that the gateway
    already has, `render_metrics` looks into `/proc` besides, and `sessions` waits only for
    the forwarders to answer.
    """

    @property
    def config(self) -> Config:
        """The configuration in force."""

    @property
    def sources(self) -> Mapping[str, str]:
        """Where each value came from: dotted key path → default, file, environment or flag."""

    @property
    def counters(self) -> CounterFile:
        """The shared counters of all processes."""

    @property
    def hub(self) -> HubView | None:
        """JupyterHub's routes and their activity; ``None`` unless ``hub.enabled``."""

    @property
    def draining(self) -> bool:
        """Whether new sessions are refused because this instance is going away."""

    @property
    def started_at(self) -> float:
        """When the proxy started, in seconds since the epoch; a gateway that follows another has the same."""

    def capacity(self) -> InstanceCapacity:
        """Read the cap and the sessions in flight."""

    def oldest_age(self, now: float) -> float:
        """Return the age of the oldest live session at the monotonic time `now`, in seconds; 0.0 if none."""

    def reservoir_summary(self, now: float) -> DurationSummary:
        """Summarise the durations of closed sessions at the monotonic time `now`."""

    def forwarders(self) -> Sequence[ForwarderRow]:
        """Describe the forwarders by slot."""

    def has_room(self) -> bool:
        """Tell whether a forwarder could take another session, whatever the cap says."""

    async def sessions(self) -> Sequence[SessionRow]:
        """List the live sessions in the order of their admission, oldest first.

        Cancellation: safe.
        """

    def end_session(self, session_id: str, code: int, reason: str) -> bool:
        """Close one session with a code and reason towards the browser.

        Returns:
            Whether there is such a session. It ends a moment later, at a frame boundary.

        Raises:
            Unheard: Its forwarder cannot be told just now; the session goes on.
        """

    def drain(self) -> None:
        """Begin to drain, as SIGTERM does, but stay alive; a second call changes nothing."""

    def render_metrics(self, query: Mapping[str, str], accept: str) -> Answer:
        """Render `/metrics` for a query (`scope`, `name`) and the value of Accept."""

    def authenticated(self, request: web.BaseRequest) -> bool:
        """Tell whether a request on the public listener comes from a signed-in user.

        Always true where no route of the configuration asks for a session.
        """
