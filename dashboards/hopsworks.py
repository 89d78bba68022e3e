"""The dashboard "Hopsworks" of the folder "Hops".

The five panels of the pool page stand at the bottom under their exact titles, the
`Memory` and `GC` panels it sends people to stand above them, and a row of our own
between the two. At the top are six numbers that say whether there is anything to look for.
Every description first says what the panel means, then what to do.
"""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import AdHocVariable, Dashboard, DatasourceVariable
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync

from dashboards.panels import DATASOURCE, GREEN, HALF, ORANGE, RED, Panel, Query, Stat, by_pod, row

TITLE = "Hopsworks"
FOLDER = "Hops"
"""Where the file goes: the annotation of the chart's ConfigMap and of `provider.yaml`."""

JSON_FILE = Path(__file__).with_name("hopsworks.json")

_CAPACITY = (
    "sum((ws_connection_in_flight_count < ws_pool_max_connections or ws_pool_max_connections)"
    " unless on (namespace, pod_name) (ws_draining == 1))"
    " / sum(ws_pool_max_connections unless on (namespace, pod_name) (ws_draining == 1))"
    " or clamp_max(count(ws_draining), 1)"
)
"""Where all pods drain it is full, as the badges say; where no pod is scraped it is unknown."""

NOW = (
    Stat(
        "Sessions",
        "Open sessions of all pods: notebooks, terminals and apps that somebody has open, whether they move "
        "anything or not. If it falls at once, sessions were cut: look at the causes below.",
        "short",
        "sum(ws_connection_in_flight_count)",
    ),
    Stat(
        "Cluster capacity",
        "Sessions over the caps of all pods that take new ones, in the colours of the badges: orange from "
        "80 %, red when all are full or drain. Add replicas or raise `maxSessionsPerApp` while it is orange.",
        "percentunit",
        _CAPACITY,
        ((0, GREEN), (0.8, ORANGE), (1, RED)),
    ),
    Stat(
        "Rejections, 5 min",
        "Upgrades that were turned away because their pod was at its cap. Each one is a user, or a tab that "
        "keeps trying, who has no session: the cap is too low, or the ingress fills one pod first.",
        "short",
        "sum(increase(ws_connection_rejections_total[5m]))",
        ((0, GREEN), (0.5, RED)),
    ),
    Stat(
        "Upstream failures, 5 min",
        "Upgrades and plain requests that failed because the kernel, shell or app took no connection. "
        "Some are tabs left open over stopped servers; a number that stays is an upstream that is down.",
        "short",
        "sum(increase(ws_upstream_connect_failures_total[5m]))"
        " + sum(increase(bascule_http_upstream_failures_total[5m]))",
        ((0, GREEN), (0.5, ORANGE)),
    ),
    Stat(
        "Pods that take sessions",
        "Pods that answer the scrape and do not drain. Fewer than there are replicas means that one is "
        "draining, does not start, or is not scraped; none means that nobody gets a session.",
        "short",
        "count(ws_draining == 0) or vector(0)",
        ((0, RED), (1, GREEN)),
    ),
    Stat(
        "Sessions lost, 1 h",
        "Sessions that were cut because a process of ours died. Always 0: anything else is a fault. Keep the "
        "log of the pod and follow the runbook of `BasculeSessionsLost`.",
        "short",
        "sum(increase(bascule_sessions_lost_total[1h]))",
        ((0, GREEN), (0.5, RED)),
    ),
)

INSTANCE = (
    Panel(
        "Memory",
        "Resident memory of all Bascule processes of a pod (`Used heap`) against the memory limit of its "
        "container (`Max heap (-Xmx)`, the lowest limit of all pods). The names are those of the platform's "
        "tuning guide; there is no Java heap here, and no garbage to wait for: memory follows the sessions "
        "in flight and the bytes that slow readers leave unread. If a line comes close to the dashed one, "
        "lower `maxSessionsPerApp` or raise the limit by the bytes per session of the sizing table; a line "
        "that climbs while sessions do not is a fault to report.",
        "bytes",
        (
            Query(by_pod("bascule_memory_used_bytes"), "Used heap {{pod_short}}"),
            Query("min(bascule_memory_max_bytes)", "Max heap (-Xmx)", dashed=True, colour=RED),
        ),
        width=HALF,
    ),
    Panel(
        "GC",
        "Share of each second in which Python's cyclic garbage collector ran, over all processes of a pod. "
        "Forwarding creates almost no cycles, so this stays below 1 %. If it rises after the cap was "
        "raised, compare it with the allocation rate below; if that is flat, the gateway (plain HTTP, admin) "
        "is the cause, not the sessions.",
        "percentunit",
        (Query(by_pod("sum by (pod_name) (rate(bascule_gc_seconds_total[1m]))"), "{{pod_short}}"),),
        width=HALF,
    ),
)

OWN = (
    Panel(
        "Bascule - sessions by kind",
        "Open sessions of all pods by what they lead to. All kinds share one budget per pod. If one kind "
        "crowds out the others, bound its route (`maxSessions`), or give it a deployment of its own.",
        "short",
        (Query("sum by (kind) (bascule_sessions)", "{{kind}}"),),
        stacked=True,
        axis="sessions",
    ),
    Panel(
        "Bascule - cluster capacity",
        "Sessions in flight over the sum of the caps of all pods that take new sessions. Above 80 % users "
        "see the orange badge; at 100 % the red one, and start buttons are disabled. A pod above its cap, "
        "after a reload that lowered it, counts as full; where all drain the cluster is. Add replicas or "
        "raise `maxSessionsPerApp` before it is orange.",
        "percentunit",
        (
            Query(_CAPACITY, "in flight / cap"),
            Query("vector(1)", "full", dashed=True, colour=RED),
        ),
    ),
    Panel(
        "Bascule - sessions by route",
        "Open sessions of all pods by configured route, the ten that have most. JupyterHub's routes are not "
        "in it: they come and go. A route that takes what others need can be given a cap of its own "
        "(`maxSessions`); those that have one are in `bascule_route_max_sessions`.",
        "short",
        (Query("topk(10, sum by (route) (bascule_route_sessions))", "{{route}}"),),
        axis="sessions",
    ),
    Panel(
        "Bascule - traffic",
        "WebSocket payload bytes per second of all pods: `inbound` from browsers, `outbound` from kernels, "
        "shells and apps. Outbound is the larger by far, but for uploads. Outbound that is cut off flat is a "
        "limit of the network or of the pod's CPU; none at all with sessions open means that upstreams are "
        "silent.",
        "binBps",
        (Query("sum by (direction) (rate(bascule_payload_bytes_total[1m]))", "{{direction}}"),),
    ),
    Panel(
        "Bascule - sessions ended by cause",
        "Sessions that ended per second, by who ended them and why. `client closed` is everyday life. "
        "`aborted` and `timeout` point at the network or at crashed peers (code-server ends all its sessions "
        "so), `too_big` at "
        "`incomingBufferBytes`, `protocol_error` at a broken client or upstream, `internal` at Bascule "
        "itself. The page 'Debug a closed session' explains each.",
        "cps",
        (
            Query(
                "sum by (ended_by, cause) (rate(bascule_sessions_ended_total[5m])) > 0",
                "{{ended_by}} {{cause}}",
            ),
        ),
        stacked=True,
    ),
    Panel(
        "Bascule - upstream failures",
        "Upgrades closed with 1013 because the kernel, shell or app did not accept a connection, and plain "
        "HTTP requests answered with 502, 503 or 504 because of it. A short burst is a notebook tab left "
        "open over a stopped server. A plateau means that an upstream or its network policy is down: the log "
        "lines `session refused` with the reason `unreachable` name the route.",
        "cps",
        (
            Query("sum(rate(ws_upstream_connect_failures_total[1m]))", "WebSocket"),
            Query("sum(rate(bascule_http_upstream_failures_total[1m]))", "HTTP"),
        ),
    ),
    Panel(
        "Bascule - HTTP responses",
        "Responses to plain HTTP requests per second, by the class of their status: pages, kernels that are "
        "started, files. Those of upstreams and our own alike. `5xx` beside upstream failures is ours; "
        "without them the kernel, shell or app itself failed. Many `4xx` are often one tab that asks again "
        "and again for what is gone.",
        "cps",
        (Query("sum by (status) (rate(bascule_http_responses_total[1m]))", "{{status}}"),),
        stacked=True,
    ),
    Panel(
        "Bascule - refusals by reason",
        "Upgrades per second that did not become a session. `handshake`: an HTTP error from Bascule "
        "(malformed head, no route, a foreign origin, a missing login). `not_permitted`: a valid login that "
        "the route is not for. `upstream`: the kernel, shell or app refused it, or gave no valid answer. "
        "`draining`: the pod is going away. `no_room`: the forwarders are restarting, or out of descriptors. "
        "`gone`: the browser left while the upstream was being dialled. `user_cap` and `route_cap`: the user "
        "or the route is at its own cap. The cap and unreachable upstreams have panels of their own. "
        "Many `handshake` refusals after a configuration change mean that the change is wrong.",
        "cps",
        (Query("sum by (reason) (rate(bascule_refusals_total[5m]))", "{{reason}}"),),
        stacked=True,
    ),
    Panel(
        "Bascule - drain",
        "1 while a pod drains, and the sessions ended by drains in five minutes, by outcome: `natural` went "
        "by themselves, `closed` got 1012 and reconnect to another pod, `aborted` had to be cut at the "
        "end. Aborted sessions mean that `drain.timeout` or `terminationGracePeriodSeconds` is too short.",
        "short",
        (
            Query(by_pod("ws_draining"), "draining {{pod_short}}"),
            Query("sum by (outcome) (increase(bascule_drain_sessions_total[5m]))", "{{outcome}}, last 5 min"),
        ),
    ),
    Panel(
        "Bascule - forwarder run-queue wait",
        "Seconds per second in which the forwarders of a pod were ready to run but had no core. Near 0 is "
        "healthy. Above 0.2 users feel it in every keystroke: raise the CPU limit (throttling counts here "
        "too), or move the pod to a quieter node. More sessions or forwarders do not help.",
        "percentunit",
        (
            Query(
                by_pod("sum by (pod_name) (rate(bascule_forwarder_wait_seconds_total[1m]))"), "{{pod_short}}"
            ),
        ),
        width=HALF,
        axis="seconds per second",
    ),
    Panel(
        "Bascule - gateway CPU",
        "CPU cores that the busiest gateway of a pod uses, and how much of the time it waits for one. It is "
        "one process, so 1 is all it can do: handshakes, plain HTTP, TLS, and the bytes of sessions with TLS "
        "on either side. Above 0.8 these are late: add replicas, or let the ingress do TLS. More "
        "CPU helps only while it waits.",
        "short",
        (
            Query(by_pod("max by (pod_name) (rate(bascule_gateway_cpu_seconds_total[1m]))"), "{{pod_short}}"),
            Query(
                by_pod("max by (pod_name) (rate(bascule_gateway_wait_seconds_total[1m]))"),
                "{{pod_short}} waits",
            ),
            Query("vector(1)", "one core", dashed=True, colour=RED),
        ),
        width=HALF,
        axis="CPU cores",
    ),
    Panel(
        "Bascule - restarts and lost sessions",
        "Processes that died and were started again, whole containers that were, and sessions that were cut "
        "because a process died, in the last five minutes. All lines are 0. Anything else is a fault: keep "
        "the log of the pod and follow the runbook.",
        "short",
        (
            Query("sum(increase(bascule_forwarder_restarts_total[5m]))", "forwarder restarts"),
            Query("sum(increase(bascule_gateway_restarts_total[5m]))", "gateway restarts"),
            Query("sum(changes(bascule_start_time_seconds[5m]))", "container restarts"),
            Query("sum(increase(bascule_sessions_lost_total[5m]))", "sessions lost", colour=RED),
        ),
        width=HALF,
    ),
    Panel(
        "Bascule - descriptors",
        "Open descriptors of a pod over its limit. A session needs two. At 100 % new sessions are refused "
        "with 1013 (`no_room`), or new connections wait: raise the container runtime's limit, or lower "
        "`maxSessionsPerApp`.",
        "percentunit",
        (Query(by_pod("bascule_open_descriptors / bascule_max_descriptors"), "{{pod_short}}"),),
        width=HALF,
    ),
)

CONTRACT = (
    Panel(
        "WebSocket - rejection rate",
        "Upgrades per second that were turned away because their pod was at its cap. Any value above zero "
        "means that at least one user did not reach a Jupyter, terminal or Streamlit session in the last "
        "minute: the cap is too low. Raise `maxSessionsPerApp` or add replicas. Upstreams that are down do "
        "not count here.",
        "cps",
        (Query("sum(rate(ws_connection_rejections_total[1m]))", "rejections", colour=RED),),
    ),
    Panel(
        "WebSocket - duration (sliding window percentiles)",
        "How long sessions lasted, measured as they close, on the pod with the highest value. Recent closes "
        "weigh more: the weight halves every five minutes, and a pod without a close in the last ten minutes "
        "reports nothing. A p50 that falls to seconds while the session count stays the same means "
        "that sessions are being cut: look at the causes above, then at the read time-out of the ingress.",
        "s",
        tuple(
            Query(f'max(ws_connection_duration_seconds{{quantile="{quantile}"}})', legend)
            for quantile, legend in (("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99"))
        ),
    ),
    Panel(
        "WebSocket - sessions",
        "Open sessions of each pod against the cap of one pod. A pod whose line reaches the dashed line "
        "rejects new sessions. One pod at the line while others are low is the ingress's affinity at work; "
        "all pods near the line mean that the cluster needs replicas or a higher `maxSessionsPerApp`.",
        "short",
        (
            Query(by_pod("ws_connection_in_flight_count"), "{{pod_short}}"),
            Query("max(ws_pool_max_connections)", "Pool max (per instance)", dashed=True, colour=RED),
        ),
        axis="sessions",
    ),
    Panel(
        "WebSocket - pool CPU",
        "CPU cores that the forwarders of a pod use; 1.0 is one core. Compare with the pod's CPU request and "
        "limit. At the limit sessions become slow before anything is rejected: raise the limit or add "
        "replicas. With TLS on either side most of the work is the gateway's, which has a panel above.",
        "short",
        (Query(by_pod("ws_pool_cpu_cores"), "{{pod_short}}"),),
        width=HALF,
        axis="CPU cores",
    ),
    Panel(
        "WebSocket - pool allocation rate (GC pressure)",
        "Bytes per second that the forwarders of a pod request from the allocator. A rate, not memory held; "
        "it comes mostly from frames that slow readers could not take at once, and is 0 without the compiled "
        "extension. High and steady means that browsers read slower than kernels write: watch `Memory` and "
        "`GC` above before raising the cap.",
        "binBps",
        (Query(by_pod("ws_pool_alloc_bytes_per_second"), "{{pod_short}}"),),
        width=HALF,
    ),
)

ROWS: tuple[tuple[str, tuple[Panel | Stat, ...]], ...] = (
    ("Now", NOW),
    ("Instance", INSTANCE),
    ("Bascule", OWN),
    ("WebSocket", CONTRACT),
)
"""Top to bottom. The pool page says that its panels live at the bottom."""


def build() -> str:
    """Build the dashboard and return it as the text of the committed file."""
    builder = (
        Dashboard(TITLE)
        .uid("hopsworks-websocket")
        .description("WebSocket sessions through Bascule, and what the pods that carry them need.")
        .tags(["hops", "websocket", "bascule"])
        .readonly()
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(DatasourceVariable("datasource").label("Data source").type("prometheus"))
        # A filter that Grafana adds to every query by itself, such as namespace = hopsworks: the queries stay
        # those of the pool page, and run as they are in any Prometheus.
        .with_variable(AdHocVariable("filter").label("Filter").datasource(DATASOURCE))
    )
    for title, panels in ROWS:
        builder.with_row(row(title))
        for panel in panels:
            builder.with_panel(panel.build())
    document = json.loads(json.dumps(builder.build(), cls=JSONEncoder))
    # Alert links and the runbooks name panels by number: numbers follow the order, not the builder.
    for number, panel_document in enumerate(document["panels"], start=1):
        panel_document["id"] = number
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def outputs() -> dict[Path, str]:
    """Return the committed file with what it should hold."""
    return {JSON_FILE: build()}
