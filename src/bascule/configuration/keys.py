"""Every key of the configuration: one frozen model for each block, the single source of all of them.

The JSON schema, the reference page and the chart's schema are generated from these
models. Keys are camelCase in files and snake_case in code. A large block has a file of its own.

Rules of this file: no I/O, no environment. A field is followed by its docstring:
meaning, unit, default and the reason for it, and what else to set. Secrets are
named by ``…File`` keys and read by whoever needs them, when it needs them.
"""

from typing import Annotated, Literal

from pydantic import Field

from bascule.configuration.admintoken import Token
from bascule.configuration.amounts import JavaLong, Positive
from bascule.configuration.auth import Auth
from bascule.configuration.capacity import Capacity
from bascule.configuration.durations import Duration, Patience, PositiveDuration
from bascule.configuration.endpoints import Endpoint, Listen, Network, TrustedProxy
from bascule.configuration.hub import Hub
from bascule.configuration.limits import Limits
from bascule.configuration.model import Block, File
from bascule.configuration.route import RouteConfig
from bascule.configuration.sockets import Sockets
from bascule.configuration.tls import AdminTls, Tls, UpstreamTls

__all__ = [
    "Drain",
    "Forwarders",
    "Keys",
    "Log",
    "Metrics",
    "Mode",
    "Readiness",
    "WebSocketProxy",
]


Mode = Annotated[
    str,
    Field(
        strict=True,
        pattern=r"^0?[0-7]{3}$",
        json_schema_extra={"x-allowed": 'permissions in octal, as text: "0660", in quotes'},
    ),
]
"""Permissions of a file, as ``chmod`` takes them."""


class WebSocketProxy(Block):
    """The five keys of the pool, with the names, units, defaults and bounds of its Helm chart."""

    max_sessions_per_app: Positive = 500
    """The cap: the most WebSocket sessions open at once on this pod, all kinds together.

    One upgrade more is answered with 101 and Close 1013. 500 is the pool's own default. One JupyterLab tab
    costs one session before any notebook is open, and one more for each kernel and each terminal, so 500
    sessions are not 500 users.
    """
    incoming_buffer_bytes: Positive = 33554432
    """Largest single WebSocket frame accepted, in bytes; a larger one ends the session with 1009.

    32 MiB, as in the pool: well above Jupyter's iopub budget of 3 MB, which does not bound a `display_data`.
    No buffer of this size is ever allocated. Streamlit's own maximum is 200 MB a message: raise the value for
    its routes (`routes[].incomingBufferBytes`).
    """
    grizzly_worker_pool_max_size: Positive = 200
    """Upper bound on the number of forwarder processes, whatever `forwarders.count` says.

    The name is the pool's, kept so that its values files work: there it bounded the threads that carry the
    upstream-to-browser leg, here the processes that do.
    """
    session_idle_timeout_ms: JavaLong = 0
    """Milliseconds without a data frame after which a session is closed with 1012.

    0, the default, never closes one.

    Off because an open notebook is legitimately silent for hours. Heartbeats and pings do not count as
    activity.
    """
    heartbeat_interval_ms: JavaLong = 20000
    """Milliseconds between unsolicited pongs to each browser, whatever else it is sent. 0 turns them off;
    `limits.pongTimeout` makes them pings.

    20 s is a third of the 60 s after which nginx drops a silent connection; keep it below half of the
    ingress's read timeout.
    """


class Forwarders(Block):
    """The processes that relay frames."""

    count: Annotated[int, Field(strict=True, ge=1, le=1024)] | None = None
    """How many to start. `null`, the default, starts one for each core this process may use: in a container,
    those of its CPU limit.

    More forwarders than cores gain nothing, since each is one thread that never blocks. Never above
    `websocketProxy.grizzlyWorkerPoolMaxSize`.
    """
    read_buffer_bytes: Annotated[int, Field(strict=True, ge=4096, le=16777216)] = 262144
    """Size of the one receive buffer each forwarder has, in bytes.

    256 KiB: as much as a socket usually holds, and it stays in the processor's second-level cache. It is
    also what keeps the loop fair: a session moves at most this much in a turn.
    """


class Drain(Block):
    """How sessions end when the proxy stops: spread out, so that browsers do not all return at once."""

    timeout: Duration = 30.0
    """Longest that a stop may take in all, plain HTTP under way included; what is left then is cut.

    Only `lastScrape` is added. The cut comes half a second earlier, so that the processes are gone in time;
    one that hangs is killed within another four seconds. Whatever kills the proxy (Kubernetes, after
    `terminationGracePeriodSeconds`, 30 s by default) must wait longer: the chart computes that time.
    """
    window: Duration | None = None
    """Spread the closes evenly over this time. `null`, the default, uses `rate` instead."""
    rate: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)] = 50
    """Sessions closed each second; 0 closes all at once. Not used when `window` is set.

    50 a second: the other pods see one handshake every 20 ms, and 500 sessions are done in 10 s.
    """
    natural_end: Duration = 0.0
    """Time at the start of a drain in which nothing is closed, so that sessions can end by themselves.

    0: notebooks do not end by themselves. New sessions are refused meanwhile.
    """
    last_scrape: Duration = 0.0
    """Longest wait at the end of a stop, on top of `timeout`, for one more read of `/metrics`.

    What a drain counts, and each session that it ends, is seen only by a scrape that comes afterwards. Each
    address that has read in the last two minutes is waited for. 0, the default, waits for nobody: a proxy
    that is started again in the same place should be back soon. Elsewhere a little more than the scrape
    interval; the chart computes it from that of its monitor.
    """


class Readiness(Block):
    """When `/readyz` fails."""

    max_share: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] = 1.0
    """Share of the cap at which this pod stops being ready. Above 1 the cap never makes it unready.

    1.0: a full pod is taken out of load balancing until a session ends. Browsers bound to it by an
    affinity cookie are then sent elsewhere, which is what a refused user needs.
    """


class Metrics(Block):
    """How figures that are not plain counters are computed."""

    duration_half_life: PositiveDuration = 300.0
    """Half-life of a closed session's weight in the duration percentiles.

    5 min, as documented for the pool (whose own reservoir has 46 s).
    """
    recent_window: PositiveDuration = 600.0
    """Time without a closed session after which the percentiles are no longer reported.

    10 min: forward decay only weighs sessions against each other, so without this an old value would never
    go away.
    """
    cpu_window: PositiveDuration = 10.0
    """Shortest time over which CPU and allocation rates are taken, however often `/metrics` is read."""


class Log(Block):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is logged. `info` is one line a session; never a query string, cookie or token."""
    format: Literal["json", "console", "auto"] = "auto"
    """`json` for collectors, `console` for people; `auto` is `console` on a terminal, else `json`."""


class Keys(Block):
    """Every key, whether or not what they say fits together: see `bascule.configuration.config.Config`."""

    listen: Listen = Endpoint("0.0.0.0", 8080)
    """Where browsers connect, usually through an ingress. All addresses: a pod's is not known beforehand.

    With `bascule serve --upstream` and no file it is 127.0.0.1:8080. `[::]:8080` is all addresses, of IPv4 as
    well unless the host has `net.ipv6.bindv6only` set. A name stands for one of its addresses: the first of
    IPv4, or, if it has none, the first of IPv6.

    `unix:/run/bascule/public.sock` is a Unix socket, for a proxy on the same host: see `listenMode`, and set
    `trustedProxies: ["unix:"]`. A socket that a dead process has left there is replaced, and nothing else is.
    """
    listen_mode: Mode = "0660"
    """Permissions of `listen` where it is a Unix socket. Whoever may write to it may connect.

    0660: the user and the group that Bascule runs as, so let nginx's user be in that group, or let Bascule
    run with nginx's.
    """
    admin: Listen = Endpoint("127.0.0.1", 8081)
    """Where `/metrics`, health, the session list and drain are served.

    By default only this host can reach it.

    For Prometheus in a cluster set 0.0.0.0:8081 and an `adminTokenFile`; never expose it through the
    ingress. `unix:/run/bascule/admin.sock` is a Unix socket: whoever may connect needs no token unless one
    is set, as on the loopback address.
    """
    admin_mode: Mode = "0600"
    """Permissions of `admin` where it is a Unix socket.

    0600: the user that Bascule runs as, and nobody else.
    """
    admin_token: Annotated[Token | None, Field(repr=False, json_schema_extra={"x-secret": True})] = None
    """Bearer token that the admin listener requires; leading and trailing white space is ignored.

    `adminTokenFile` is better, since a file's content is never printed.
    """
    admin_token_file: File | None = None
    """File with that token; leading and trailing white space is ignored. A file without a token,
    or with more than one line of it, is an error.

    Without a token an `admin` that other hosts can reach answers only health, metrics and capacity.
    """
    websocket_proxy: WebSocketProxy = WebSocketProxy()
    """The five keys of the pool."""
    routes: tuple[RouteConfig, ...] = ()
    """What is served, by path. The longest path that matches wins, whatever the order here."""
    hub: Hub = Hub()
    """Routes that JupyterHub adds and removes. A match in `routes` takes precedence over them."""
    forwarders: Forwarders = Forwarders()
    """The processes that relay frames."""
    limits: Limits = Limits()
    """Bounds before and beside a session."""
    sockets: Sockets = Sockets()
    """TCP options."""
    trusted_proxies: tuple[TrustedProxy, ...] = ()
    """Networks whose `X-Forwarded-…` fields are trusted. Empty, the default, trusts nobody.

    `unix:` is whoever connects to `listen` where that is a Unix socket. Such a peer has no address: without
    this every client is called `unix:`, in logs and by limits, and upstreams are told no address.

    Set the ingress's pod network here, or every client address in logs and limits will be the ingress's, and
    WebSockets from `https` pages are refused where the ingress ends TLS. Where there is no
    `X-Forwarded-Proto`, `X-Scheme` counts, and upstreams are sent `X-Forwarded-Proto` with its value.
    Their `X-Request-ID` is in the log.

    From anybody else `X-Forwarded-…` fields are removed, and so are their relatives, such as `Forwarded`;
    upstreams get our own account. Fields with other names pass, `Remote-User` too: an application that takes
    one for a login must not be reached in any other way than through the proxy that sets it.
    """
    proxy_protocol_from: tuple[Network, ...] = ()
    """Networks of load balancers that pass on bytes, and put a PROXY header (version 1 or 2) in front of each
    connection to `listen` and `tls.redirectFrom`. Empty, the default: nobody does.

    The header tells the client's address, and with version 2 and its TLS value also that the balancer has
    ended TLS. A connection from these networks that begins with anything else is closed; one from elsewhere
    is taken as it is. List the balancers and nobody else: whoever is listed can claim to be anybody. Only
    over TCP: whoever connects to a Unix socket tells the client's address in `X-Forwarded-For`.
    """
    drain: Drain = Drain()
    """How the proxy stops."""
    watchdog: Patience = 20.0
    """How long a gateway or a forwarder may hang before it is killed and started again; 0 never kills it.

    A process hangs when its loop, which goes round at least once a second, has not done so for this time. It
    serves nobody then, so killing a forwarder ends only sessions that nobody could use. Time in which the
    machine, or the whole container, was suspended does not count, nor, up to twice this time, any in which
    the process was kept waiting for a core. 20 s: a third of the time after which the chart's liveness probe
    would end the pod with all its sessions. Set 0 to stop a process with a debugger.
    """
    reload_on_change: Annotated[bool, Field(strict=True)] = False
    """Whether a changed configuration file is loaded automatically, within half a minute, as with SIGHUP.

    Off, because a file that somebody is editing is not finished yet. The chart sets it: a ConfigMap changes
    as a whole, and nobody is there to send a signal. A file that cannot be used is tried again every five
    minutes.
    """
    former_gateway_timeout: Duration = 0.0
    """How long a gateway that a reload has replaced may work on; what it still has is cut then.

    0, the default, lets it finish, however long that takes. Downloads keep it, and sessions over TLS (of
    browsers, or to an `https` upstream), which may last for weeks; it takes some 42 MB. While there are seven
    of them no reload succeeds. nginx calls this `worker_shutdown_timeout`, HAProxy `hard-stop-after`.
    """
    readiness: Readiness = Readiness()
    """When `/readyz` fails."""
    capacity: Capacity = Capacity()
    """Badges and cluster figures."""
    metrics: Metrics = Metrics()
    """Computed figures."""
    auth: Auth = Auth()
    """Who may open a session."""
    log: Log = Log()
    """Standard error."""
    tls: Tls = Tls()
    """TLS of the public listener."""
    upstream_tls: UpstreamTls = UpstreamTls()
    """TLS towards `https` upstreams."""
    admin_tls: AdminTls = AdminTls()
    """TLS of the admin listener."""
