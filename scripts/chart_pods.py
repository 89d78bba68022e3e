"""The chart's values for the pods as Kubernetes runs them: image, ports, memory, probes, how they stop.

Rules of this file: those of `scripts.chart_values`.
"""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from scripts.chart_words import Annotations, Digest, IntOrPercent, ObjectName, Port, Repository, Tag

from bascule.configuration.durations import Duration
from bascule.configuration.model import Block


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


class Shutdown(Block):
    """What Kubernetes adds around the drain."""

    pre_stop_delay: Duration = 10.0
    """Time between the pod's removal from the Service and SIGTERM, for every ingress to notice. The pod
    serves as before meanwhile."""
    margin: Duration = 10.0
    """Added to `preStopDelay`, the drain's timeout and `lastScrape` to give terminationGracePeriodSeconds."""
    termination_grace_period_seconds: Annotated[int, Field(ge=1)] | None = None
    """`null` computes it; a smaller value than the computed one is refused."""


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


class Pdb(Block):
    """PodDisruptionBudget."""

    enabled: bool = True
    """Create it."""
    max_unavailable: IntOrPercent = 1
    """Pods that a node drain may evict at once; each one's sessions are told to reconnect."""


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
