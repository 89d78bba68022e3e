"""What the API server refuses, and how it says so."""

from collections.abc import Iterator
from typing import Final

import kubernetes_validate  # type: ignore[import-untyped]

from tests.chart.apiserver import refusals
from tests.support.kube.store import Object

__all__ = ["KUBERNETES", "Refused", "reasons_against"]

KUBERNETES: Final = "1.33"


class Refused(Exception):
    """A request that is answered with a Status."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "code": code,
            "reason": reason,
            "message": message,
        }


def reasons_against(body: Object) -> list[str]:
    """Return why an object is not taken: its schema, and what no schema says."""
    return [*_misfits(body), *refusals(body)]


def _misfits(body: Object) -> Iterator[str]:
    """Yield what the schema of Kubernetes says against an object; it knows no custom resources."""
    if "." in body["apiVersion"].partition("/")[0] and not body["apiVersion"].startswith(
        "networking.k8s.io/"
    ):
        return
    seen = {key: value for key, value in body.items() if key != "status"}
    try:
        kubernetes_validate.validate(seen, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{'.'.join(map(str, error.path))}: {error.message}"
