"""A gateway that is not there: plausible, moving figures for tests and for looking at the pages.

``python -m tests.admin.fake_view --sessions 437 --cap 500`` serves the status page with them.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from aiohttp import web

from bascule.admin.api import Administration
from bascule.admin.capacity import level
from bascule.admin.events import SAMPLE_EVERY, SAMPLES
from bascule.admin.hubstanding import HubStanding
from bascule.admin.view import (
    DurationSummary,
    ForwarderRow,
    HubView,
    InstanceCapacity,
    SessionRow,
    Unheard,
)
from bascule.configuration.config import Capacity, Config, Hub, RouteConfig, WebSocketProxy
from bascule.configuration.endpoints import Endpoint
from bascule.configuration.loading import unwritten
from bascule.gateway.hubactivity import HubActivity
from bascule.gateway.hubledger import HubRouteLedger
from bascule.handover.counters import CounterFile, ForwarderWord, GatewayWord, ended_word
from bascule.handover.journal import Journal
from bascule.policy.hubroutes import HubRoutes
from bascule.policy.routes import RouteTable
from bascule.telemetry.exposition import Answer
from bascule.vocabulary import Cause, EndedBy, Kind, Level

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROUTES = (
    RouteConfig(
        name="lab",
        kind=Kind.JUPYTER,
        path="/jupyter/{project}/",
        upstream="http://{project}:8888",
        where={"project": "[a-z]+"},
    ),
    RouteConfig(name="terminal", kind=Kind.TERMINAL, path="/terminals/", upstream="http://127.0.0.1:7681"),
    RouteConfig(
        name="apps", kind=Kind.APP, path="/apps/", upstream="http://127.0.0.1:8501", strip_prefix=True
    ),
    RouteConfig(
        name="reports", kind=Kind.APP, path="/reports/", upstream="http://127.0.0.1:8502", max_sessions=150
    ),
)
USERS = ("meb10000", "ada", "grace", "linus", "sophie.germain@example.org", "emmy", "katherine", "alan", None)
DURATIONS = DurationSummary(
    1742,
    1742 * 913.0,
    40211.0,
    913.0,
    {0.5: 312.4, 0.75: 1204.0, 0.95: 5405.2, 0.98: 9822.0, 0.99: 20110.0, 0.999: 40211.0},
)


def config(**changes: object) -> Config:
    """A small configuration on the loopback."""
    base: dict[str, object] = {
        "routes": ROUTES,
        "capacity": Capacity(name="hopsworks-instance-7d9f8c6b5-x2x7k"),
    }
    return Config(**{**base, **changes})


@dataclass
class _Life:
    row: SessionRow
    born: float
    touched: float


class FakeView:
    """Implements `GatewayView` over rows that tests set and a demo moves."""

    def __init__(self, config: Config, *, sessions: int = 0, seed: int = 1) -> None:
        self.config = config
        self.sources: Mapping[str, str] = {
            "websocketProxy.maxSessionsPerApp": "file",
            "routes": "file",
            "admin": "flag",
            **dict.fromkeys(unwritten(config), "default"),
        }
        self.counters = CounterFile.create(2)
        self.hub_ledger = self.take_hub(config.hub)
        self.draining = False
        self.started_at = time.time() - 93_784
        self.signed_in = True
        self.reads = 0
        self.ended: list[tuple[str, int, str]] = []
        self.unheard = False
        self._random = random.Random(seed)
        self._lives: dict[str, _Life] = {}
        self._next = 1
        for _ in range(sessions):
            self.open(age=self._random.expovariate(1 / 9000))

    def take_hub(self, settings: Hub, clock: Callable[[], float] = time.time) -> HubRouteLedger:
        """Take routes of a JupyterHub, none at first, and return where they are kept."""
        routes = HubRoutes(RouteTable(()), settings)
        activity = HubActivity(routes, clock)
        ledger = HubRouteLedger(routes, activity, Journal.create("test-hub"), clock)
        self.hub: HubView | None = HubView(ledger, activity, HubStanding())
        return ledger

    def open(
        self, *, age: float = 0.0, kind: Kind | None = None, user: str | None = "", route: str | None = None
    ) -> str:
        """Add a session and return its id."""
        draw = self._random
        configured = (
            draw.choices(ROUTES, (60, 18, 16, 6))[0]
            if kind is None
            else next(r for r in ROUTES if r.kind is kind)
        )
        number = f"{self._next:08x}{draw.getrandbits(32):08x}"
        self._next += 1
        now = time.monotonic()
        row = SessionRow(
            id=number,
            route=route or configured.name,
            kind=configured.kind.value,
            user=draw.choice(USERS) if user == "" else user,
            client=f"10.1.{draw.randrange(4)}.{draw.randrange(2, 250)}",
            upstream=f"{configured.name}.apps.svc:80",
            forwarder=draw.randrange(2),
            age=0.0,
            idle=0.0,
            round_trip=None,
            bytes_in=int(draw.expovariate(1 / 20_000)),
            bytes_out=int(draw.expovariate(1 / 3_000_000)),
            frames_in=draw.randrange(900),
            frames_out=draw.randrange(4000),
        )
        self._lives[number] = _Life(row, now - age, now - min(age, draw.expovariate(1 / 400)))
        return number

    def close(self, number: str) -> None:
        """Take a session away."""
        del self._lives[number]

    def change(self, number: str, **facts: Any) -> None:
        """Give a session other facts."""
        life = self._lives[number]
        life.row = replace(life.row, **facts)

    @property
    def ids(self) -> list[str]:
        """Ids of the live sessions."""
        return list(self._lives)

    def capacity(self) -> InstanceCapacity:
        cap = self.config.websocket_proxy.max_sessions_per_app
        judged = level(len(self._lives), cap, self.config.capacity.warning_share)
        judged = Level.CRITICAL if self.draining else judged
        return InstanceCapacity(
            self.config.capacity.name or "pod", len(self._lives), cap, judged, self.draining
        )

    def oldest_age(self, now: float) -> float:
        return now - min((life.born for life in self._lives.values()), default=now)

    def reservoir_summary(self, now: float) -> DurationSummary:
        if not self.counters.gateway(0)[GatewayWord.ADMITTED]:
            return DurationSummary(0, 0.0, math.nan, math.nan, dict.fromkeys(DURATIONS.quantiles, math.nan))
        return DURATIONS

    def has_room(self) -> bool:
        return True

    def forwarders(self) -> Sequence[ForwarderRow]:
        half = len(self._lives) // 2
        wave = 0.2 + 0.1 * math.sin(time.monotonic() / 7)
        return [
            ForwarderRow(0, 4711, len(self._lives) - half, wave, 5120.4, 3.1, 41_943_040, 0, "compiled"),
            ForwarderRow(1, 4712, half, wave * 0.8, 4876.9, 2.8, 40_370_176, 1, "compiled"),
        ]

    async def sessions(self) -> Sequence[SessionRow]:
        self.reads += 1
        now = time.monotonic()
        return [
            replace(life.row, age=now - life.born, idle=now - life.touched) for life in self._lives.values()
        ]

    def end_session(self, session_id: str, code: int, reason: str) -> bool:
        if session_id not in self._lives:
            return False
        if self.unheard:
            raise Unheard
        self.ended.append((session_id, code, reason))
        self.close(session_id)
        return True

    def drain(self) -> None:
        self.draining = True

    def render_metrics(self, query: Mapping[str, str], accept: str) -> Answer:
        if query.get("scope", "application") != "application":
            return Answer(404, "text/plain; charset=utf-8", b"Not available scope to consume")
        body = f"ws_connection_in_flight_count {float(len(self._lives))}\n"
        return Answer(200, "text/plain; version=0.0.4; charset=utf-8", body.encode())

    def authenticated(self, request: web.BaseRequest) -> bool:
        return self.signed_in

    def move(self) -> None:
        """Let a second pass: sessions come, go and talk."""
        draw = self._random
        words, block = self.counters.gateway(0), self.counters.forwarder(0)
        cap = self.config.websocket_proxy.max_sessions_per_app
        for _ in range(draw.randrange(0, 4)):
            if len(self._lives) < cap:
                self.open()
                words[GatewayWord.ADMITTED] += 1
            else:
                words[GatewayWord.REJECTIONS] += 1
        for _ in range(draw.randrange(0, 4)):
            if self._lives:
                self.close(draw.choice(list(self._lives)))
                cause = draw.choices(
                    (Cause.CLOSED, Cause.ABORTED, Cause.TIMEOUT, Cause.TOO_BIG), (80, 15, 4, 1)
                )[0]
                block[ended_word(Kind.JUPYTER, EndedBy.CLIENT, cause)] += 1
        if draw.random() < 0.05:
            words[GatewayWord.UPSTREAM_CONNECT_FAILURES] += 1
        now = time.monotonic()
        for life in draw.sample(list(self._lives.values()), min(len(self._lives), 40)):
            sent, got = draw.randrange(400), int(draw.expovariate(1 / 9000))
            life.row = replace(
                life.row, bytes_in=life.row.bytes_in + sent, bytes_out=life.row.bytes_out + got
            )
            life.touched = now
            block[ForwarderWord.PAYLOAD_INBOUND] += sent
            block[ForwarderWord.PAYLOAD_OUTBOUND] += got


def invent_an_hour(administration: Administration, view: FakeView) -> None:
    """Fill the ring as if the pod had been busy: a morning rush up to the cap, then calm."""
    live, draw = administration.live, random.Random(7)
    words = view.counters.gateway(0)
    words[GatewayWord.ADMITTED] = 1742
    words[GatewayWord.PEAK_IN_FLIGHT] = view.capacity().max
    for cause, count in (
        (Cause.CLOSED, 1320),
        (Cause.ABORTED, 301),
        (Cause.TIMEOUT, 88),
        (Cause.IDLE, 21),
        (Cause.TOO_BIG, 3),
    ):
        view.counters.forwarder(1)[ended_word(Kind.JUPYTER, EndedBy.CLIENT, cause)] = count
    now, cap, end = time.time(), view.capacity().max, len(view.ids)
    for index in range(SAMPLES - 1):
        share = index / SAMPLES
        if 0.50 < share < 0.58:
            words[GatewayWord.REJECTIONS] += draw.randrange(0, 6)
        if draw.random() < 0.04 or 0.2 < share < 0.22:
            words[GatewayWord.UPSTREAM_CONNECT_FAILURES] += draw.randrange(1, 4)
        live.take_sample(now - (SAMPLES - 1 - index) * SAMPLE_EVERY)
        rush = (
            cap * 1.06 * math.exp(-(((share - 0.54) / 0.16) ** 2))
            + end * share**2
            + draw.gauss(0, cap * 0.004)
        )
        live._ring[-1] = replace(live._ring[-1], in_flight=max(0, min(cap, round(rush))))


async def serve(arguments: argparse.Namespace) -> None:
    """Serve the admin listener until interrupted."""
    chosen = config(
        websocket_proxy=WebSocketProxy(max_sessions_per_app=arguments.cap),
        admin=Endpoint("127.0.0.1", arguments.port),
        admin_token=arguments.token,
    )
    view = FakeView(chosen, sessions=arguments.sessions)
    view.draining = arguments.draining
    administration = Administration(view)
    invent_an_hour(administration, view)
    runner = web.AppRunner(administration.app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", arguments.port)
    await site.start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}/", flush=True)
    while True:
        await asyncio.sleep(1)
        if not arguments.still:
            view.move()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=437)
    parser.add_argument("--cap", type=int, default=500)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token", default=None)
    parser.add_argument("--draining", action="store_true")
    parser.add_argument("--still", action="store_true", help="nothing moves")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
