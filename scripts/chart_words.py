"""The words of a manifest as an API server takes them: names, labels, quantities, references.

What the schema of the values lets through and the API server does not is refused in the middle of an upgrade,
when other objects are changed already. So what can be said by a pattern is said here; the patterns keep to
what both of Helm's validators know, which is no look-ahead.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from bascule.configuration.model import Block

_LABEL = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_DNS = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_IMAGE_PART = "[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*"

Key = Annotated[str, Field(pattern=rf"^({_DNS}/)?{_LABEL}$")]
"""Of a label or an annotation; what has a prefix of a domain elsewhere looks the same."""
Labels = dict[Key, Annotated[str, Field(pattern=f"^({_LABEL})?$")]]
Annotations = dict[Key, str]

AlertLabels = dict[Annotated[str, Field(pattern="^[a-zA-Z_][a-zA-Z0-9_]*$")], str]
"""Prometheus's, whose keys know no dot and no slash."""

ObjectName = Annotated[str, Field(pattern=f"^({_DNS})?$", max_length=253)]
"""Of what the values refer to; or empty."""
SecretKey = Annotated[str, Field(pattern="^[-._a-zA-Z0-9]+$", max_length=253)]
Host = Annotated[str, Field(pattern=rf"^((\*\.)?{_DNS})?$", max_length=253)]
"""Of an Ingress, which takes a wildcard for the first label; or empty."""
_SEGMENT = r"([^/.][^/]*|\.[^/.][^/]*|\.\.[^/]+)"
"""Of a path: not empty, and neither ``.`` nor ``..``."""
PathPrefix = Annotated[str, Field(pattern=f"^/({_SEGMENT}(/{_SEGMENT})*/?)?$")]
_PLAIN = "[-A-Za-z0-9_~!$&'()*+,;=:@]"
_PLAIN_SEGMENT = rf"({_PLAIN}({_PLAIN}|\.)*|\.{_PLAIN}({_PLAIN}|\.)*|\.\.({_PLAIN}|\.)+)"
RoutePath = Annotated[str, Field(pattern=f"^/({_PLAIN_SEGMENT}(/{_PLAIN_SEGMENT})*/?)?$", max_length=1024)]
"""Of an HTTPRoute, which takes fewer characters than an Ingress."""
RouteHost = Annotated[str, Field(pattern=rf"^(\*\.)?{_DNS}$", max_length=253)]
RouteDuration = Annotated[str, Field(pattern="^([0-9]{1,5}(h|m|s|ms)){1,4}$")]
"""Of an HTTPRoute, which knows no fractions."""

Range = Annotated[str, Field(pattern=r"^([0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}|[0-9a-fA-F:]+/[0-9]{1,3})$")]
"""Of addresses, with its prefix's length."""

Repository = Annotated[
    str, Field(pattern=rf"^([A-Za-z0-9.-]+(:[0-9]+)?/)?{_IMAGE_PART}(/{_IMAGE_PART})*$", max_length=255)
]
Tag = Annotated[str, Field(pattern="^([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$")]
Digest = Annotated[str, Field(pattern="^(sha256:[0-9a-f]{64})?$")]

Quantity = (
    Annotated[float, Field(ge=0)]
    | Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]*)?([numkMGTPE]|[KMGTPE]i|[eE][-+]?[0-9]+)?$")]
)
Resources = dict[Literal["requests", "limits"], dict[str, Quantity] | None]

Interval = Annotated[str, Field(pattern="^(([1-9]|[12][0-9]|30)s|([1-9][0-9]{0,3}|[12][0-9]{4}|30000)ms)$")]
"""Between two scrapes, at most 30 seconds: a rate over one minute needs two samples in it."""

Replicas = Annotated[int, Field(ge=0, le=2**31 - 1)]

Port = Annotated[int, Field(ge=1, le=65535)]
Name = Annotated[str, Field(pattern="^([a-z]([-a-z0-9]*[a-z0-9])?)?$", max_length=46)]
"""Of a Service, with room for what follows in a pod's name; or empty."""
IntOrPercent = Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern="^[0-9]+%$")]
Objects = tuple[dict[str, Any], ...]
"""As the API server checks them; the chart does not."""


class LocalReference(Block):
    """An object of the same namespace."""

    name: Annotated[str, Field(pattern=f"^{_DNS}$", max_length=253)]


class ParentReference(Block):
    """What an HTTPRoute is attached to."""

    group: str | None = None
    kind: str | None = None
    namespace: Annotated[str, Field(pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)] | None = None
    name: Annotated[str, Field(pattern=f"^{_DNS}$", max_length=253)]
    section_name: Annotated[str, Field(pattern=f"^{_DNS}$", max_length=253)] | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None


class Variable(Block):
    """An environment variable."""

    name: Annotated[str, Field(pattern="^[^=]+$")]
    value: str | None = None
    """A text: 8080 is none, "8080" is."""
    value_from: dict[str, Any] | None = None


class VariableSource(Block):
    """An object each key of which becomes an environment variable."""

    prefix: str | None = None
    config_map_ref: dict[str, Any] | None = None
    secret_ref: dict[str, Any] | None = None


class Toleration(Block):
    """A taint that the pods put up with."""

    key: str | None = None
    operator: Literal["Equal", "Exists", "Lt", "Gt"] | None = None
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = None
