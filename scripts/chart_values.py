"""The chart's values: the configuration's own models, and what only Kubernetes needs.

`scripts/charts.py` writes `values.yaml` (keys, defaults, comments) and
`values.schema.json` from these models, so neither can differ from what the proxy
accepts. Rules of this file: a key that the proxy knows is its own model, or a subclass
that changes a default and says why; a field is followed by its docstring, which becomes
the comment in `values.yaml`.
"""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from scripts.chart_words import (
    AlertLabels,
    Annotations,
    Digest,
    Host,
    Interval,
    Key,
    Labels,
    LocalReference,
    ObjectName,
    ParentReference,
    PathPrefix,
    Range,
    Replicas,
    Repository,
    Resources,
    RouteDuration,
    RouteHost,
    RoutePath,
    SecretKey,
    Tag,
    Toleration,
    Variable,
    VariableSource,
)

from bascule.policy.config import (
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
from bascule.policy.durations import Duration, Patience
from bascule.policy.endpoints import Network
from bascule.policy.model import Block
from bascule.policy.tlsconfig import UpstreamTls

Objects = tuple[dict[str, Any], ...]
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
A_GATEWAY = [{"name": "gateway", "namespace": "gateway-system", "sectionName": "https"}]
Port = Annotated[int, Field(ge=1, le=65535)]
Name = Annotated[str, Field(pattern="^([a-z]([-a-z0-9]*[a-z0-9])?)?$", max_length=46)]
"""Of a Service, with room for what follows in a pod's name; or empty."""
IntOrPercent = Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern="^[0-9]+%$")]


class Payara(Block, extra="allow"):
    """The proxy's place in the platform's values."""

    websocket_proxy: WebSocketProxy = WebSocketProxy()
    """The five keys of the WebSocket proxy pool."""


class Hopsworks(Block, extra="allow"):
    """The platform's values; all but the proxy's is ignored, so that one file serves both charts."""

    payara: Payara = Payara()
    """Everything else under this key is ignored."""


class Image(Block):
    """The container image."""

    repository: Repository = "bascule"
    """Where the image built from the Containerfile was pushed."""
    tag: Tag = ""
    """Empty takes the chart's appVersion."""
    digest: Digest = ""
    """`sha256:…`; wins over the tag, and is what should be pinned in production."""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When the kubelet pulls."""


class Ports(Block):
    """Ports inside the pod."""

    http: Port = 8080
    """Browsers, by way of the Service and the ingress."""
    admin: Port = 8081
    """Metrics, probes, status page; never routed by the ingress."""
    redirect: Port = 8082
    """Plain HTTP that is redirected to https, with `service.redirectPort`."""


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


class Shutdown(Block):
    """What Kubernetes adds around the drain."""

    pre_stop_delay: Duration = 10.0
    """Time between the pod's removal from the Service and SIGTERM, for every ingress to notice. The pod
    serves as before meanwhile."""
    margin: Duration = 10.0
    """Added to `preStopDelay`, the drain's timeout and `lastScrape` to give terminationGracePeriodSeconds."""
    termination_grace_period_seconds: Annotated[int, Field(ge=1)] | None = None
    """`null` computes it; a smaller value than the computed one is refused."""


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


class Sizing(Block):
    """Memory tied to the cap. Measured: see docs/howto/tune-the-cap.md."""

    bytes_per_session: Annotated[int, Field(ge=1)] = 65536
    """Memory of one session in the pod's cgroup, kernel socket buffers included, on average. Idle it takes
    10 KiB, and at most 32 KiB more in its forwarder where neither side reads. One whose browser reads slowly
    can hold some MiB in the kernel; few do at the same moment."""
    tls_bytes_per_session: Annotated[int, Field(ge=0)] = 131072
    """What a session has besides in the gateway with `tls.secretName`."""
    upstream_tls_bytes_per_session: Annotated[int, Field(ge=0)] = 131072
    """The same where an upstream is https: a route's or `hub.defaultTarget`, or any, with
    `upstreamTls.ca` or `upstreamTls.certificate`."""
    base_bytes: Annotated[int, Field(ge=0)] = 134217728
    """Memory of the supervisor and the gateway without a session."""
    forwarder_bytes: Annotated[int, Field(ge=0)] = 20971520
    """Memory of one forwarder: 10 MiB without a session, 4 MiB that wait for peers that read slowly, and some
    to spare."""
    limit_factor: Annotated[float, Field(ge=1)] = 1.5
    """Memory limit over memory request: room for slow readers and plain HTTP."""


class Service(Block):
    """The Service that the ingress talks to."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    """Kind of Service."""
    port: Port = 80
    """Its port."""
    redirect_port: Port | None = None
    """A second port, at which plain HTTP is redirected to https at the first, such as 80 beside `port: 443`;
    needs `tls.secretName`. `null` is none: behind an ingress or a Gateway that is theirs to do."""
    annotations: Annotations = Field(default_factory=dict)
    """Annotations."""
    app_protocol: Key | None = None
    """What the port speaks, as in the Service specification. `null` is `http`, or `https` with `tls`; some
    Gateways pass WebSockets on only with `kubernetes.io/ws`."""
    node_port: Port | None = None
    """Port of the nodes, with the types NodePort and LoadBalancer; `null` lets the cluster choose."""
    external_traffic_policy: Literal["Cluster", "Local"] | None = None
    """With the types NodePort and LoadBalancer: `Local` keeps the browsers' addresses, and reaches only the
    pods of the node that was asked. `null` is the cluster's default, `Cluster`."""
    load_balancer_class: Key | None = None
    """Which load balancer, with the type LoadBalancer; `null` is the cluster's default. Fixed once it is
    there."""
    load_balancer_source_ranges: tuple[Range, ...] = ()
    """Networks that the load balancer lets in, with the type LoadBalancer; empty lets in all."""
    ip_family_policy: Literal["SingleStack", "PreferDualStack", "RequireDualStack"] | None = None
    """Of all the chart's Services; `null` is the cluster's default. For IPv6 set `bindAddress` to `[::]`,
    which takes IPv4 too."""
    ip_families: Annotated[
        tuple[Literal["IPv4", "IPv6"], ...], Field(max_length=2, json_schema_extra={"uniqueItems": True})
    ] = ()
    """Of all the chart's Services, `IPv4` and `IPv6`, the preferred one first; empty is the cluster's
    default."""


class Affinity(Block):
    """Binding a browser to a pod by a cookie, in the annotations of ingress-nginx."""

    enabled: bool = True
    """Turn this off for another ingress controller, and set its own annotations above."""
    mode: Literal["persistent", "balanced"] = "persistent"
    """`persistent` is the platform's default: a browser stays where it is when pods are added. `balanced`
    moves some of them to new pods."""
    cookie_max_age: Annotated[int, Field(ge=1)] = 5259600
    """Life of the cookie in seconds; the platform's default is two months."""


class IngressHost(Block):
    """One host."""

    host: Host = ""
    """Empty matches every host."""
    paths: tuple[PathPrefix, ...] = ("/",)
    """Path prefixes."""


class Ingress(Block):
    """The Ingress."""

    enabled: bool = False
    """Create one."""
    class_name: ObjectName | None = "nginx"
    """Ingress class; `null` is the cluster's own default."""
    annotations: Annotations = Field(default={"nginx.ingress.kubernetes.io/proxy-body-size": "0"})
    """Annotations besides those of the affinity. No read timeout is set: the heartbeat of 20 s keeps sessions
    alive under nginx's 60 s."""
    affinity: Affinity = Affinity()
    """Cookie affinity."""
    hosts: Annotated[tuple[IngressHost, ...], Field(min_length=1)] = (IngressHost(),)
    """Hosts and paths."""
    path_type: Literal["Prefix", "ImplementationSpecific"] = "Prefix"
    """How the controller reads the paths. `ImplementationSpecific` is for one that reads them its own way, as
    the one of GKE's load balancers, where `/jupyter/*` is a prefix. `Exact` would serve one URL."""
    tls: Objects = ()
    """As in the Ingress specification."""


class RouteTimeouts(Block):
    """How long the Gateway waits."""

    request: RouteDuration | None = "0s"
    """For a request until its answer's end, as in the HTTPRoute specification. `0s`, for no limit, because a
    session or a download may last for hours; `null` leaves it to the Gateway."""


class HttpRoute(Block):
    """The HTTPRoute of the Gateway API, in place of the Ingress or beside it."""

    enabled: bool = False
    """Create one; needs the Gateway API, 1.2 or later, and a Gateway."""
    annotations: Annotations = Field(default_factory=dict)
    """Annotations."""
    parent_refs: Annotated[tuple[ParentReference, ...], Field(max_length=32)] = Field(
        default=(), examples=[A_GATEWAY]
    )
    """The Gateways that it is attached to, as in the HTTPRoute specification."""
    hostnames: Annotated[tuple[RouteHost, ...], Field(max_length=16)] = ()
    """Hosts; empty takes those of the Gateway's listener."""
    paths: Annotated[tuple[RoutePath, ...], Field(min_length=1, max_length=64)] = ("/",)
    """Path prefixes."""
    timeouts: RouteTimeouts = RouteTimeouts()
    """How long the Gateway waits; not each one can be told."""
    rule: dict[str, Any] = Field(default_factory=dict)
    """Merged over the rule, for what the chart does not know: `filters`, `retry`, `sessionPersistence`."""


class Monitor(Block):
    """A scrape configuration for the Prometheus operator."""

    enabled: bool = False
    """Create it; needs the operator's custom resources."""
    interval: Interval = "15s"
    """Scrape interval, in `s` or `ms`; at most 30s, since the rates in the dashboard and rules cover one
    minute."""
    labels: Labels = Field(default_factory=dict)
    """Labels that the Prometheus resource selects by, such as `release: kube-prometheus-stack`."""
    relabelings: Objects = ()
    """Further relabelings of the pods, as in the operator's API, behind those that the dashboard needs."""
    metric_relabelings: Objects = ()
    """Relabelings of the samples, as in the operator's API: what the dashboard and rules read must stay."""


class PrometheusRule(Block):
    """Recording and alerting rules for the Prometheus operator."""

    enabled: bool = False
    """Create it; needs the operator's custom resources."""
    labels: Labels = Field(default_factory=dict)
    """Labels that the Prometheus resource selects by."""
    alert_labels: AlertLabels = Field(default_factory=dict)
    """Labels of every alert, for Alertmanager to route by, such as `team: data`. One that a rule has itself,
    as each has `severity`, is replaced."""
    disabled: tuple[str, ...] = ()
    """Names of alerts to leave out, such as `BasculeRouteFull`. One with another threshold goes into
    `extraObjects`, or into your own rules, in its place."""
    runbook_base_url: str = "https://bascule.example/docs/runbooks"
    """Where docs/runbooks is published; every alert links there."""


class Dashboard(Block):
    """The Grafana dashboard, as a ConfigMap for Grafana's sidecar."""

    enabled: bool = False
    """Create it."""
    folder: str = "Hops"
    """Folder in Grafana."""
    folder_annotation: Key = "grafana_folder"
    """The sidecar's `folderAnnotation`."""
    labels: Labels = Field(default={"grafana_dashboard": "1"})
    """Labels that the sidecar looks for."""


class Keda(Block):
    """What KEDA queries."""

    server_address: str = "http://prometheus-operated.monitoring.svc:9090"
    """Address of Prometheus."""


class Autoscaling(Block):
    """More pods before the cap is reached; fewer only slowly, since each pod that goes moves its sessions."""

    enabled: bool = False
    """`replicaCount` is then ignored."""
    type: Literal["hpa", "keda"] = "hpa"
    """`hpa` needs the metric `ws_connection_in_flight_count` in the custom metrics API
    (prometheus-adapter), `keda` needs KEDA."""
    min_replicas: Annotated[Replicas, Field(ge=1)] = 2
    """Fewest pods."""
    max_replicas: Annotated[Replicas, Field(ge=1)] = 10
    """Most pods."""
    target_share: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Share of the cap that the average pod should carry."""
    scale_down_stabilization_seconds: Annotated[int, Field(ge=0, le=3600)] = 1800
    """Seconds over which the highest demand counts before a pod is removed."""
    scale_down_period_seconds: Annotated[int, Field(ge=1, le=1800)] = 600
    """At most one pod is removed in this many seconds."""
    keda: Keda = Keda()
    """KEDA only."""


class Pdb(Block):
    """PodDisruptionBudget."""

    enabled: bool = True
    """Create it."""
    max_unavailable: IntOrPercent = 1
    """Pods that a node drain may evict at once; each one's sessions are told to reconnect."""


class NetworkPolicy(Block):
    """NetworkPolicy: separate rules for the public and the admin port."""

    enabled: bool = False
    """Create it; needs a network plugin that enforces it."""
    http_from: Objects = ()
    """Peers that may reach the public port, such as the ingress controller; empty allows all."""
    admin_from: Objects = ()
    """Peers that may reach the admin port besides our own pods: name Prometheus, or nothing is scraped."""
    egress: Objects = ({},)
    """Egress rules, as in the NetworkPolicy specification: DNS and the upstreams. The default allows all. The
    chart's own pods can always be asked for their capacity."""


class ServiceAccount(Block):
    """The pods' identity. They never talk to the API server, so no token is mounted."""

    create: bool = True
    """Create it."""
    name: ObjectName = ""
    """Empty takes the full name."""
    annotations: Annotations = Field(default_factory=dict)
    """Annotations."""


class Probe(Block):
    """Timing of one probe."""

    period_seconds: Annotated[int, Field(ge=1)]
    timeout_seconds: Annotated[int, Field(ge=1)]
    failure_threshold: Annotated[int, Field(ge=1)]


class Probes(Block):
    """Timing of the probes."""

    # One that is null would leave its defaults out and half a probe in the manifest.
    model_config = ConfigDict(json_schema_extra={"required": ["startup", "liveness", "readiness"]})

    startup: Probe = Probe(period_seconds=1, timeout_seconds=2, failure_threshold=60)
    """`/healthz` until it first answers."""
    liveness: Probe = Probe(period_seconds=10, timeout_seconds=5, failure_threshold=6)
    """`/healthz`: patient, since a restart costs every session."""
    readiness: Probe = Probe(period_seconds=2, timeout_seconds=2, failure_threshold=2)
    """`/readyz`: quick, since a draining pod must leave the Service."""


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
