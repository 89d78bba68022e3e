"""The chart's values for whatever reads the metrics: Prometheus, Grafana, an autoscaler.

Rules of this file: those of `scripts.chart_values`.
"""

from typing import Annotated, Literal

from pydantic import Field
from scripts.chart_words import AlertLabels, Interval, Key, Labels, Objects, Replicas

from bascule.configuration.model import Block


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
