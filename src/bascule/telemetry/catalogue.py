"""Every metric of the proxy, in one table.

The exposition, `docs/reference/metrics.md` and the tests of the dashboards and alerts all
read this table; a metric that is not here cannot be exposed, and one that is here must be.

Rules of this file:

* The first rows are the contract (the WebSocket Proxy Pool page): names, kinds and
  meanings stay to the letter, because dashboards and alerts out there depend on them.
* What we add is called ``bascule_...`` (``ws_draining`` is the one exception), has a base
  unit, ``_total`` where it is a counter, and gives no second name to what the contract
  already names.
* Labels are those of `bascule.telemetry.labels`.
"""

from __future__ import annotations

from typing import Final

from bascule.telemetry.metric import Metric, MetricKind, Unit

__all__ = ["CATALOGUE", "GROUPS"]

_C: Final = MetricKind.COUNTER
_G: Final = MetricKind.GAUGE

_CONTRACT: Final = (
    Metric(
        "ws_connection_in_flight_count", _G, Unit.SESSIONS,
        "WebSocket sessions open on this pod, one for each browser connection that is bridged.",
        "Counted where sessions are admitted and ended, not derived from threads; so one whose upstream is "
        "still being dialled already holds its slot. A pod whose value reaches "
        "`ws_pool_max_connections` turns new sessions away. One JupyterLab tab holds several: one "
        "for its events, one for each kernel connection, one for each terminal.",
        is_contract=True,
    ),
    Metric(
        "ws_connection_in_flight_max_age_seconds", _G, Unit.SECONDS,
        "Seconds since the oldest session of this pod was admitted; 0 without one.",
        "Long ages are normal: an open notebook may idle for days. If it grows while users say that "
        "nobody is connected, peers have vanished without closing; see `limits.pongTimeout`, and without "
        "an ingress `sockets.keepaliveIdle`.",
        is_contract=True,
    ),
    Metric(
        "ws_pool_max_connections", _G, Unit.SESSIONS,
        "The cap on open sessions of one pod (maxSessionsPerApp); further upgrades are closed with 1013.",
        "The dashed line of the sessions panel. Raise it in the values file when there are rejections.",
        is_contract=True,
    ),
    Metric(
        "ws_connection_rejections_total", _C, Unit.SESSIONS,
        "Upgrades turned away because the cap was reached, and for no other reason.",
        "The signal to alert on: any increase means that somebody was refused a notebook, terminal or app. "
        "A client that tries again is counted again; `bascule_rejected_clients_total` counts clients.",
        is_contract=True,
    ),
    Metric(
        "ws_upstream_connect_failures_total", _C, Unit.SESSIONS,
        "Sessions closed because the upstream (kernel, shell or app pod) could not be reached.",
        "The upstream is down: it refused the connection, timed out or did not resolve. This and a rejection "
        "both close with 1013 towards the browser, but this one has nothing to do with the cap.",
        is_contract=True,
    ),
    Metric(
        "ws_connection_duration_seconds", MetricKind.SUMMARY, Unit.SECONDS,
        "How long closed sessions lasted: quantiles of a sample that forgets with a half-life, and count and "
        "sum of all sessions.",
        "Labels `quantile` 0.5, 0.75, 0.95, 0.98, 0.99 and 0.999. The quantiles favour recent closes "
        "(`metrics.durationHalfLife`, 300 s) and are NaN when no session closed within "
        "`metrics.recentWindow` (600 s). `_count` and `_sum` only ever grow, and are those of "
        "`bascule_session_duration_seconds`, which is to be used where there are several pods: their "
        "quantiles cannot be averaged.",
        is_contract=True,
    ),
    Metric(
        "ws_connection_duration_seconds_max", _G, Unit.SECONDS,
        "Longest duration in the sample of recently closed sessions.",
        "Completes the summary; NaN under the same condition.",
        is_contract=True, part_of="ws_connection_duration_seconds",
    ),
    Metric(
        "ws_connection_duration_seconds_mean", _G, Unit.SECONDS,
        "Weighted mean duration in the sample of recently closed sessions.",
        "Completes the summary; NaN under the same condition. For the mean of all sessions divide the rates "
        "of `_sum` and `_count`.",
        is_contract=True, part_of="ws_connection_duration_seconds",
    ),
    Metric(
        "ws_pool_cpu_cores", _G, Unit.CORES,
        "CPU cores that the forwarders use now; 1 is one whole core. 0 on the first scrape after a start.",
        "Run time of the forwarder processes over the last `metrics.cpuWindow` (10 s), measured every second "
        "in the background, so scrapers do not disturb each other; a reload is not a start. Compare with the "
        "pod's CPU limit; when `bascule_forwarder_wait_seconds_total` rises with it, the limit is what holds "
        "the pod back. The gateway is not in it, which with TLS on either side of a session does most of the "
        "work: see `bascule_gateway_cpu_seconds_total`.",
        is_contract=True,
    ),
    Metric(
        "ws_pool_alloc_bytes_per_second", _G, Unit.BYTES_PER_SECOND,
        "Rate at which the forwarders request memory from the allocator; 0 where it cannot be known.",
        "Pressure, not memory held: most of it is freed at once. Needs the compiled extension; the "
        "pure build reports 0. For memory in use see `bascule_memory_used_bytes`.",
        is_contract=True,
    ),
)  # fmt: skip

_SESSIONS: Final = (
    Metric(
        "bascule_session_duration_seconds", MetricKind.HISTOGRAM, Unit.SECONDS,
        "How long closed sessions lasted, in buckets from a second to a day.",
        "Adds up over pods: `histogram_quantile(0.95, sum by (le) (rate(...[5m])))`. A session whose end "
        "nobody saw, as `bascule_sessions_lost_total` has it, has no duration and is not in it.",
    ),
    Metric(
        "bascule_sessions", _G, Unit.SESSIONS,
        "Open sessions by kind.",
        "Their sum is `ws_connection_in_flight_count` minus the sessions whose upstream is being dialled.",
        ("kind",),
    ),
    Metric(
        "bascule_route_sessions", _G, Unit.SESSIONS,
        "Sessions in flight by configured route.",
        "Sessions whose upstream is being dialled count, as for the cap. JupyterHub's routes are not "
        "included: they come and go.",
        ("route",),
    ),
    Metric(
        "bascule_route_max_sessions", _G, Unit.SESSIONS,
        "The cap on open sessions of a route (`routes[].maxSessions`), for the routes that have one.",
        "Compare it with `bascule_route_sessions`.",
        ("route",),
    ),
    Metric(
        "bascule_sessions_ended_total", _C, Unit.SESSIONS,
        "Sessions that ended, by kind, who ended them and why.",
        "An ordinary closing handshake is `closed`; the close table explains every other pair.",
        ("kind", "ended_by", "cause"),
    ),
    Metric(
        "bascule_sessions_lost_total", _C, Unit.SESSIONS,
        "Sessions that ended because their forwarder process died.",
        "Should be 0. Find the forwarder's last words in the log; see `bascule_forwarder_restarts_total`. "
        "Sessions of a forwarder that died while there was no gateway are counted only here, since nobody "
        "knows whose they were or how long they lasted.",
    ),
    Metric(
        "bascule_close_codes_total", _C, Unit.NONE,
        "Close frames of sessions by sender and close code.",
        "Those that browsers and upstreams sent, and ours to browsers; not that of a refusal, which is no "
        "session. 1012 from `proxy` are idle and drain closes; 1009 is `incomingBufferBytes`; 1014 is an "
        "upstream that vanished, fell silent or broke the protocol.", ("side", "code"),
    ),
    Metric(
        "bascule_frames_total", _C, Unit.NONE,
        "Frames received from the peers, by direction and opcode.",
        "Includes pings, which the proxy answers and does not pass on, and a browser's answers to the "
        "proxy's own; other pongs pass unchanged.",
        ("direction", "opcode"),
    ),
    Metric(
        "bascule_payload_bytes_total", _C, Unit.BYTES,
        "WebSocket payload bytes of the data frames relayed, by direction.",
        "The traffic of the pool, without TCP, TLS and frame headers.", ("direction",),
    ),
    Metric(
        "bascule_heartbeats_total", _C, Unit.NONE,
        "Heartbeats sent to browsers to keep the ingress from closing idle connections.",
        "Unsolicited pongs, or pings where `limits.pongTimeout` is set. The rate is about open sessions / "
        "heartbeatIntervalMs. Flat while sessions are open: no heartbeats.",
    ),
    Metric(
        "bascule_browser_round_trip_seconds", MetricKind.HISTOGRAM, Unit.SECONDS,
        "How long browsers took to answer a ping, in buckets from a millisecond to ten seconds.",
        "Empty unless `limits.pongTimeout` is set. What users feel of network and ingress: "
        "`histogram_quantile(0.95, sum by (le) (rate(...[5m])))`; `GET /sessions` has each browser's latest.",
    ),
    Metric(
        "bascule_pings_answered_total", _C, Unit.NONE,
        "Pings that the proxy answered itself, by the side that sent them.",
        "Upstreams send pings; browsers do not, but other clients may.", ("side",),
    ),
    Metric(
        "bascule_stashed_bytes", _G, Unit.BYTES,
        "Bytes read from one side that the other side could not take yet.",
        "Bounded for each session. A value that stays high points to slow browsers, not to a slow proxy.",
    ),
)  # fmt: skip

_REFUSALS: Final = (
    Metric(
        "bascule_refusals_total", _C, Unit.NONE,
        "Upgrades that did not become a session, for reasons other than the contract's own.",
        "What the contract counts separately (the cap, unreachable upstreams) is not repeated here.",
        ("reason",),
    ),
    Metric(
        "bascule_refusals_held_total", _C, Unit.NONE,
        "Repeated refusals that were held open for a while before their Close.",
        "This slows down clients that retry at once, instead of letting them spin.",
    ),
    Metric(
        "bascule_rejected_clients_total", _C, Unit.NONE,
        "Clients, by user or address, turned away by the cap that had not been turned away shortly before.",
        "Roughly how many people are behind `ws_connection_rejections_total`: those who share an address "
        "count as one.",
    ),
    Metric(
        "ws_draining", _G, Unit.NONE,
        "1 while the pod drains: no new sessions are admitted, open ones are told to reconnect.",
        "Expected during a rollout only.",
    ),
    Metric(
        "bascule_drain_sessions_total", _C, Unit.SESSIONS,
        "Sessions that a drain found open, by what became of them.",
        "`aborted` should be 0; if it is not, lengthen `drain.timeout`.", ("outcome",),
    ),
    Metric(
        "bascule_http_requests_total", _C, Unit.NONE,
        "Plain HTTP requests that were proxied.",
        "Everything that is not a WebSocket upgrade; does not count against the cap.",
    ),
    Metric(
        "bascule_http_responses_total", _C, Unit.NONE,
        "Responses to plain HTTP requests, by the class of their status.",
        "Upstreams' and our own alike. An upgrade that its upstream refused counts, too; a request whose "
        "client left before there was a response does not.",
        ("status",),
    ),
    Metric(
        "bascule_http_requests_in_flight", _G, Unit.NONE,
        "Plain HTTP requests under way.",
        "Bounded by `limits.maxHttpRequests`. Downloads to slow browsers and event streams last long. An "
        "upgrade whose upstream's refusal is being relayed counts as one.",
    ),
    Metric(
        "bascule_http_requests_refused_total", _C, Unit.NONE,
        "Plain HTTP requests, and upgrades that their upstream refused, answered with 503 because too many "
        "were under way, or no descriptor, memory or port was left to reach the upstream.",
        "Somebody keeps many requests open; or `limits.maxHttpRequests` is too low for the pod, or the "
        "open-file limit is.",
    ),
    Metric(
        "bascule_http_upstream_failures_total", _C, Unit.NONE,
        "Plain HTTP requests answered with 502, 503 or 504 because of an upstream, or cut off as it failed.",
        "A route's upstream is down, does not answer, or dies while answering; a log line says which.",
    ),
)  # fmt: skip

_PROCESSES: Final = (
    Metric(
        "bascule_forwarder_cpu_seconds_total", _C, Unit.SECONDS,
        "CPU time used by each forwarder slot, including processes that are gone.",
        "Uneven slots mean that one of them has a few heavy sessions.", ("forwarder",),
    ),
    Metric(
        "bascule_forwarder_wait_seconds_total", _C, Unit.SECONDS,
        "Time that each forwarder slot was ready to run but had to wait for a core.",
        "If it grows, the pod's CPU limit (or the node) starves the forwarder: keystrokes wait. Raise the "
        "limit before the cap.",
        ("forwarder",),
    ),
    Metric(
        "bascule_gateway_cpu_seconds_total", _C, Unit.SECONDS,
        "CPU time used by the gateway, including processes that are gone.",
        "Its rate cannot exceed 1, since all of a gateway's work is done in one thread: handshakes, plain "
        "HTTP, TLS, and the bytes of sessions with TLS on either side. From 0.8 on all of these are late. "
        "Threads that look up names are not counted.",
        ("gateway",),
    ),
    Metric(
        "bascule_gateway_wait_seconds_total", _C, Unit.SECONDS,
        "Time that the gateway was ready to run but had to wait for a core.",
        "The gateway stands back behind the forwarders, so it is the first to wait when the pod's CPU is "
        "used up.",
        ("gateway",),
    ),
    Metric(
        "bascule_forwarder_resident_bytes", _G, Unit.BYTES,
        "Resident memory of each forwarder.",
        "Pages shared between processes are counted in each.", ("forwarder",),
    ),
    Metric(
        "bascule_forwarder_restarts_total", _C, Unit.NONE,
        "How often each forwarder slot had to be started again.",
        "Should be 0.", ("forwarder",),
    ),
    Metric(
        "bascule_gateway_restarts_total", _C, Unit.NONE,
        "How often the gateway had to be started again.",
        "Should be 0. Open sessions survive it, except with TLS on either side. A reload does not count.",
    ),
    Metric(
        "bascule_start_time_seconds", _G, Unit.SECONDS,
        "Unix time at which this proxy was started, all its processes together.",
        "Changes when the container, or the service, is restarted, and then every counter starts at 0. "
        "Neither a reload nor the death of a single process changes it.",
    ),
    Metric(
        "bascule_config_last_reload_successful", _G, Unit.NONE,
        "1 if the last reload succeeded, or there was none yet; 0 if its configuration is not in force.",
        "At 0 the pod keeps the previous one, and the log says why. The next start may fail too.",
    ),
    Metric(
        "bascule_hub_routes", _G, Unit.NONE,
        "Routes that JupyterHub has added: its own, and one for each server and service.",
        "0 where `hub.enabled` is off, and after a start until JupyterHub adds its routes: within its "
        "`last_activity_interval`.",
    ),
    Metric(
        "bascule_hub_peers_failing", _G, Unit.NONE,
        "Other instances that did not share JupyterHub's routes when they were last asked.",
        "0 where `hub.shareRoutes` is off. Each is asked every 5 to 15 s, and a log line says what is wrong.",
    ),
    Metric(
        "bascule_memory_used_bytes", _G, Unit.BYTES,
        "Resident memory of all our processes together.",
        "The used line of the memory panel. Pages that they share are counted once.",
    ),
    Metric(
        "bascule_memory_max_bytes", _G, Unit.BYTES,
        "Memory that our processes may use: the cgroup's limit, or without one all the memory of the node.",
        "The dashed line of the memory panel.",
    ),
    Metric(
        "bascule_gc_seconds_total", _C, Unit.SECONDS,
        "Time spent in Python's cycle collector, by process.",
        "Relaying creates no cycles; a visible slope means that something else does.", ("process",),
    ),
    Metric(
        "bascule_open_descriptors", _G, Unit.NONE,
        "Open file descriptors of whichever of our processes is nearest to its limit.",
        "A session holds two in its forwarder.",
    ),
    Metric(
        "bascule_max_descriptors", _G, Unit.NONE,
        "The limit on open file descriptors of that same process.",
        "Must exceed twice the cap by a good margin.",
    ),
    Metric(
        "bascule_build_info", _G, Unit.NONE,
        "Always 1; the labels say what is running.",
        "Join on it to see which pods still run the old version.", ("version", "hot_path"),
    ),
)  # fmt: skip

CATALOGUE: Final[tuple[Metric, ...]] = (*_CONTRACT, *_SESSIONS, *_REFUSALS, *_PROCESSES)
"""All metrics, in the order in which they are exposed."""

GROUPS: Final[tuple[tuple[str, tuple[Metric, ...]], ...]] = (
    ("The contract", _CONTRACT),
    ("Sessions and frames", _SESSIONS),
    ("Refusals, drain and plain HTTP", _REFUSALS),
    ("Processes", _PROCESSES),
)
"""The same, under the headings of the reference page."""
