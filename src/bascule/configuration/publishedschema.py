"""The JSON schema of a configuration file, for editors and charts.

Rules of this file: what it leaves out of pydantic's schema is what only our own code reads
(`bascule.configuration.allowed`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from bascule.configuration.config import Config
from bascule.configuration.descriptions import DescribedSchema

if TYPE_CHECKING:
    from bascule.configuration.allowed import Schema

__all__ = ["published_schema"]

_PRIVATE: Final = frozenset({"x-allowed", "x-duration", "x-secret"})


def published_schema() -> Schema:
    """Return the schema, with a description of each key."""
    whole = Config.model_json_schema(by_alias=True, mode="validation", schema_generator=DescribedSchema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **cast("Schema", _published(whole)),
        "title": "Configuration of bascule",
    }


def _published(value: object, *, names: bool = False) -> object:
    """Copy a schema without private keywords and without the titles pydantic makes of field names.

    Args:
        value: A schema, or a part of one.
        names: Whether the keys of ``value`` are names of properties, not keywords.
    """
    if isinstance(value, list):
        return [_published(item) for item in value]
    if not isinstance(value, dict):
        return value
    published: Schema = {}
    for key, inner in value.items():
        if names:
            published[key] = _published(inner)
        elif key == "default":
            published[key] = inner
        elif key not in _PRIVATE and key != "title":
            published[key] = _published(inner, names=key in {"properties", "$defs"})
    return published
