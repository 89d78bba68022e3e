"""The HTTPRoute of the Gateway API, as far as the chart writes it: no package has a typed model.

From the definition in the standard channel of version 1.6: names, types, and what must be there.
"""

from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

__all__ = ["HTTPRoute"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)


class ParentReference(_Model):
    group: str | None = None
    kind: str | None = None
    namespace: str | None = None
    name: str
    section_name: str | None = None
    port: int | None = None


class PathMatch(_Model):
    type: Literal["Exact", "PathPrefix", "RegularExpression"]
    value: str


class Match(_Model):
    path: PathMatch


class BackendReference(_Model):
    name: str
    port: int


class Timeouts(_Model):
    request: str | None = None
    backend_request: str | None = None


class Rule(_Model):
    name: str | None = None
    matches: Annotated[list[Match], Field(max_length=64)]
    backend_refs: Annotated[list[BackendReference], Field(max_length=16)]
    timeouts: Timeouts | None = None


class Spec(_Model):
    parent_refs: Annotated[list[ParentReference], Field(max_length=32)]
    hostnames: Annotated[list[str], Field(max_length=16)] | None = None
    rules: Annotated[list[Rule], Field(min_length=1, max_length=16)]


class Kind(NamedTuple):
    api_version: str
    kind: str


class HTTPRoute(_Model):
    api_version: Literal["gateway.networking.k8s.io/v1"]
    kind: Literal["HTTPRoute"]
    metadata: dict[str, object]
    spec: Spec

    @classmethod
    def gvk(cls) -> Kind:
        """Say what it is, as the operators' models do."""
        return Kind("gateway.networking.k8s.io/v1", "HTTPRoute")
