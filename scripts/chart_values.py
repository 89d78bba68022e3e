"""The chart's values: the configuration's own models, and what only Kubernetes needs.

`scripts/charts.py` writes `values.yaml` (keys, defaults, comments) and
`values.schema.json` from these models, so neither can differ from what the proxy
accepts. What concerns Kubernetes alone is in `chart_pods`, `chart_traffic` and `chart_metrics`.

Rules of this file: a key that the proxy knows is its own model, or a subclass
that changes a default and says why; a field is followed by its docstring, which becomes
the comment in `values.yaml`.
"""

from typing import Annotated, Any, Literal

from pydantic import Field
from scripts.chart_metrics import Autoscaling, Dashboard, Monitor, PrometheusRule
from scripts.chart_pods import Image, Pdb, Ports, Probes, ServiceAccount, Shutdown, Sizing
from scripts.chart_traffic import HttpRoute, Ingress, NetworkPolicy, Service
from scripts.chart_words import (
    Annotations,
    Labels,
    LocalReference,
    Name,
    ObjectName,
    Objects,
    Replicas,
    Resources,
    SecretKey,
    Toleration,
    Variable,
    VariableSource,
)

from bascule.configuration.config import (
    Capacity,
    Drain,
    Forwarders,
    Hub,
    Limits,
    Log,
    Metrics,
    Readiness,
    RouteConfig,
    SessionAuth,
    Sockets,
    WebSocketProxy,
)
from bascule.configuration.durations import Duration, Patience
from bascule.configuration.endpoints import Network
from bascule.configuration.model import Block
from bascule.configuration.tls import UpstreamTls

HALF_A_CORE: Resources = {"requests": {"cpu": "500m"}}
A_ROUTE: list[dict[str, Any]] = [
    {
        "name": "jupyter",
        "kind": "jupyter",
        "path": "/hopsworks-api/jupyter/{port}/",
        "upstream": "http://jupyter.hopsworks.svc:{port}",
        "where": {"port": "8[89][0-9]{2}"},
    }
]


class Payara(Block, extra="allow"):
    """The proxy's place in the platform's values."""

    websocket_proxy: WebSocketProxy = WebSocketProxy()
    """The five keys of the WebSocket proxy pool."""


class Hopsworks(Block, extra="allow"):
    """The platform's values; all but the proxy's is ignored, so that one file serves both charts."""

    payara: Payara = Payara()
    """Everything else under this key is ignored."""


class SecretReference(Block):
    """A key of a Secret that exists already; the chart creates no secrets."""

    name: ObjectName = ""
    """Name of the Secret; empty means none."""
    key: SecretKey = "token"
    """Its key."""


class ChartDrain(Drain):
    """How sessions end when a pod stops."""

    timeout: Duration | None = None  # type: ignore[assignment]  # the chart computes it
    """Longest a stop may take in all. `null` computes it: `naturalEnd` plus the time to close a full pod's
    sessions at `rate` (or over `window`), taken as nine tenths of the whole, plus a closing handshake; at
    least 30 s."""
    last_scrape: Duration | None = None  # type: ignore[assignment]  # the chart computes it
    """Longest wait after that for Prometheus to read how it ended; `/metrics` that nobody reads is not waited
    for. `null`, the default, is the interval of the ServiceMonitor or PodMonitor and 5 s more, or 0 without.
    Set it for pods that are scraped by their annotations."""


class ChartReadiness(Readiness):
    """When a pod takes no new traffic."""

    max_share: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] = 2.0
    """Share of the cap at which a pod stops being ready; above 1 the cap never makes it unready. 2, because
    the ingress sends *everything* elsewhere when a pod is not ready, including the HTTP calls of notebooks
    that are open on it, and because with every pod full users would see the ingress's 503 instead of the
    close code 1013."""


class ChartSessionAuth(SessionAuth):
    """The login cookie; its key comes from a Secret."""

    key_file: Annotated[None, Field(exclude=True)] = None
    key_secret: SecretReference = SecretReference(key="key")
    """The key that signatures are checked with; needed as soon as a route says `auth: session`."""


class ChartAuth(Block):
    """Who may open a session."""

    session: ChartSessionAuth = ChartSessionAuth()
    """The login cookie checked on routes with `auth: session`."""


class ChartHub(Hub):
    """Routes that JupyterHub adds and removes: the REST API of configurable-http-proxy."""

    enabled: Annotated[bool, Field(strict=True)] = False
    """Whether `/api/routes` accepts routes, at port 8001 of the Service whose name ends in `-api`. Set
    `adminToken` too."""
    share_routes: Annotated[bool, Field(strict=True)] = True
    """Whether the pods share the routes, so that JupyterHub may tell any of them. Off only where there is a
    single pod."""


class ChartLog(Log):
    """What is written to standard error."""

    format: Literal["json", "console", "auto"] = "json"
    """`json` for collectors, `console` for people."""


class Tls(Block):
    """TLS between the ingress and the pod."""

    secret_name: ObjectName = ""
    """A Secret of type kubernetes.io/tls; empty speaks plain HTTP, as behind most ingresses."""


class Values(Block):
    """Values of the chart."""

    hopsworks: Hopsworks = Hopsworks()
    """The path and the names are the platform's."""

    replica_count: Replicas = 2
    """Number of pods; each has the whole cap to itself."""
    min_ready_seconds: Annotated[int, Field(ge=0, le=2**30)] = 5
    """Seconds between a new pod's being ready and the end of the next old one in a rollout. One that is told
    to end counts no more, so drains overlap unless this is as long as one: see
    docs/howto/drain-and-upgrade.md."""
    image: Image = Image()
    """Container image."""
    image_pull_secrets: tuple[LocalReference, ...] = ()
    """As in the Pod specification."""
    name_override: Name = ""
    """Replaces the chart's name in labels and names. Fixed for the life of a release: selectors cannot
    change."""
    fullname_override: Name = ""
    """Replaces the whole name. `hopsworks-instance` gives the pods the name prefix that the dashboard
    strips."""

    routes: tuple[RouteConfig, ...] = Field(default=(), examples=[A_ROUTE])
    """What is served, by path: name, kind, path, upstream, stripPrefix, where, allowedOrigins, auth,
    requiredClaims, audiences, incomingBufferBytes, maxSessions, rejectMode. The pods do not start without at
    least one route, or `hub.enabled`. Allow a `{port}` no more ports than Jupyter has: a URL selects one, and
    whatever listens there can be reached."""
    hub: ChartHub = ChartHub()
    """Routes that JupyterHub adds and removes."""
    trusted_proxies: tuple[Network, ...] = ()
    """Networks whose `X-Forwarded-…` fields are trusted: the pod network of the ingress."""
    proxy_protocol_from: tuple[Network, ...] = ()
    """Networks of load balancers that put a PROXY header in front of each connection."""
    bind_address: Annotated[str, Field(pattern=r"^([0-9.]+|\[[0-9a-fA-F:.]+\])$")] = "0.0.0.0"
    """Address inside the pod; `[::]`, with its brackets, in an IPv6 cluster."""
    ports: Ports = Ports()
    """Ports inside the pod."""
    forwarders: Forwarders = Forwarders()
    """The processes that relay frames. `count: null` is one for each core of the CPU limit, not of the node;
    without a limit one for each core of the request, and at least two, since the pod may use more."""
    limits: Limits = Limits()
    """Bounds before and beside a session."""
    sockets: Sockets = Sockets()
    """TCP options of both connections of a session."""
    drain: ChartDrain = ChartDrain()
    """How sessions end when a pod stops."""
    watchdog: Patience = 20.0
    """How long a gateway or a forwarder may hang before it is killed and started again; 0 never kills it.
    Keep it below the minute after which the liveness probe fails: that ends the pod and its sessions."""
    reload_on_change: Annotated[bool, Field(strict=True)] = True
    """Whether the pods reload a changed configuration in place, within two minutes and without ending a
    session. A value that a running proxy cannot reload, and anything that is not configuration, still
    replaces the pods. `false` replaces them for every change."""
    former_gateway_timeout: Duration = 0.0
    """How long what began before a reload in place may go on where it keeps the former gateway process alive:
    downloads, and sessions over TLS. It is cut then; 0 never cuts it. Each such process takes some 42 MB of
    the pod's memory, and while there are seven no reload succeeds."""
    shutdown: Shutdown = Shutdown()
    """What Kubernetes adds around the drain."""
    readiness: ChartReadiness = ChartReadiness()
    """When a pod takes no new traffic."""
    capacity: Capacity = Capacity()
    """Badges and cluster figures. `headlessService: null` uses the chart's own, unless `peers` are set."""
    metrics: Metrics = Metrics()
    """How figures are computed."""
    auth: ChartAuth = ChartAuth()
    """Who may open a session."""
    admin_token: SecretReference = SecretReference()
    """Bearer token of the admin API. Without it only metrics, probes and capacity answer to other hosts."""
    log: ChartLog = ChartLog()
    """Standard error."""
    tls: Tls = Tls()
    """TLS between the ingress and the pod."""
    upstream_tls: UpstreamTls = UpstreamTls()
    """TLS towards `https` upstreams. `extraVolumes` and `extraVolumeMounts` bring the files into the pods."""
    extra_config: dict[str, Any] = Field(default_factory=dict)
    """Merged over the configuration file, for keys that the chart does not know."""

    sizing: Sizing = Sizing()
    """Memory tied to the cap."""
    resources: Resources | None = Field(default=HALF_A_CORE)
    """Resources of the container. Memory that is not set here is computed from the cap and `sizing`; a
    request above its limit is lowered to the limit. Half a core carries 500 sessions of ten small messages a
    second each, twice over. No CPU limit: throttling delays every keystroke."""
    probes: Probes = Probes()
    """Timing of the probes."""
    service: Service = Service()
    """The Service that the ingress talks to."""
    ingress: Ingress = Ingress()
    """The Ingress."""
    http_route: HttpRoute = HttpRoute()
    """The HTTPRoute of the Gateway API, in place of the Ingress or beside it. See
    docs/howto/behind-a-gateway.md."""
    service_monitor: Monitor = Monitor()
    """ServiceMonitor; use this or the PodMonitor."""
    pod_monitor: Monitor = Monitor()
    """PodMonitor."""
    prometheus_rule: PrometheusRule = PrometheusRule()
    """Recording and alerting rules."""
    dashboard: Dashboard = Dashboard()
    """Grafana dashboard."""
    autoscaling: Autoscaling = Autoscaling()
    """Autoscaling on sessions in flight over the cap."""
    pdb: Pdb = Pdb()
    """PodDisruptionBudget."""
    network_policy: NetworkPolicy = NetworkPolicy()
    """NetworkPolicy."""
    service_account: ServiceAccount = ServiceAccount()
    """ServiceAccount."""

    run_as_user: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = 10001
    """User and group of the processes: the image's. `null` leaves both to the cluster, as on OpenShift."""
    pod_annotations: Annotations = Field(default_factory=dict)
    """Annotations of the pods."""
    pod_labels: Labels = Field(default_factory=dict)
    """Additional labels of the pods."""
    node_selector: Labels = Field(default_factory=dict)
    """As in the Pod specification."""
    tolerations: tuple[Toleration, ...] = ()
    """As in the Pod specification."""
    affinity: dict[str, Any] = Field(default_factory=dict)
    """As in the Pod specification."""
    topology_spread_constraints: Objects = ()
    """As in the Pod specification; a constraint without a `labelSelector` counts our own pods. Empty spreads
    the pods over nodes, softly."""
    priority_class_name: ObjectName = ""
    """As in the Pod specification."""
    extra_env: tuple[Variable, ...] = ()
    """Additional environment variables of the container."""
    extra_env_from: tuple[VariableSource, ...] = ()
    """ConfigMaps and Secrets whose keys are additional environment variables of the container. A `BASCULE_…`
    among them wins over what the chart computes, unseen by it."""
    extra_volumes: Objects = ()
    """Additional volumes of the pod."""
    extra_volume_mounts: Objects = ()
    """Additional volume mounts of the container."""
    extra_containers: Objects = ()
    """Additional containers of the pod. All are told to stop at once: one that sessions lead to belongs into
    `extraInitContainers`."""
    extra_init_containers: Objects = ()
    """Containers that run before the proxy. With `restartPolicy: Always` (Kubernetes 1.29) they run beside it
    and end behind it, so that sessions to them can drain."""
    host_aliases: Objects = ()
    """As in the Pod specification: names of upstreams that DNS does not know."""
    dns_policy: Literal["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"] | None = None
    """As in the Pod specification; `null` is the cluster's default, `ClusterFirst`."""
    dns_config: dict[str, Any] = Field(default_factory=dict)
    """As in the Pod specification, such as `options: [{name: ndots, value: "1"}]` for upstreams outside."""
    common_labels: Labels = Field(default_factory=dict)
    """Labels of every object, the pods among them, so that a change replaces the pods. Selectors stay as they
    are."""
    extra_objects: Objects = ()
    """Objects that are installed with the chart's own, such as what makes a Secret of yours. Texts in them
    are templates: `{{ .Release.Namespace }}` has its value, and `{{ "{{" }}` writes braces."""
    global_: dict[str, Any] = Field(default_factory=dict, alias="global")
    """Values shared with parent charts; not read."""
