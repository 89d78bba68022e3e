"""The stand-in for an API server, for tests that ask for nothing but objects."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chart.rendering import Manifest
from tests.support.kube.api import run_cluster

__all__ = ["cluster"]


@contextmanager
def cluster(objects: dict[str, Manifest], home: Path) -> Iterator[Path]:
    """Serve objects by path, and what clients make of them; yields a kubeconfig file."""
    with run_cluster(home) as running:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "hopsworks"}}
        running.add("/api/v1/namespaces/hopsworks", namespace)
        for path, body in objects.items():
            running.add(path, body)
        yield running.kubeconfig
