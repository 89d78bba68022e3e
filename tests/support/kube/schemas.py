"""Whether an object fits the schema of its kind, in any version of Kubernetes."""

from functools import cache
from typing import Any

from kubernetes_validate import ValidationError, utils  # type: ignore[import-untyped]

__all__ = ["ValidationError", "must_fit"]

# It reads megabytes of JSON for each object. What it has read it does not change.
utils.schema_contents = cache(utils.schema_contents)
utils.all_versions = cache(utils.all_versions)


def must_fit(manifest: dict[str, Any], version: str) -> None:
    """Raise ``ValidationError`` unless the object has all that its schema wants and no field beyond."""
    utils.validate(manifest, version, strict=True)
