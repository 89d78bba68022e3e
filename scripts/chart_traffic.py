"""The chart's values for the way to the pods: the Service, the Ingress, the HTTPRoute, the NetworkPolicy.

Rules of this file: those of `scripts.chart_values`.
"""

from typing import Annotated, Any, Literal

from pydantic import Field
from scripts.chart_words import (
    Annotations,
    Host,
    Key,
    ObjectName,
    Objects,
    ParentReference,
    PathPrefix,
    Port,
    Range,
    RouteDuration,
    RouteHost,
    RoutePath,
)

from bascule.configuration.model import Block

A_GATEWAY = [{"name": "gateway", "namespace": "gateway-system", "sectionName": "https"}]


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
