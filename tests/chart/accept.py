"""Put the chart through its whole life on the API server that KUBECONFIG names.

Every case of the tests' matrix is installed, upgraded, rolled back and uninstalled with Helm 3 and Helm 4,
each in a namespace of its own under the Pod Security Standard "restricted", with a quota and default limits.
The steps are in tests/chart/acceptance.py. A cluster-wide object that is needed and missing, such as the
operators' definitions, is created and at the end deleted; what is there already is not touched. No pod has to
start, so no image is needed. One line for each life; exit status 1 if anything was found.

Usage: KUBECONFIG=… python -m tests.chart.accept [--helm v3 v4] [--only WORD…] [--jobs 2] [--keep]
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.chart import acceptance
from tests.chart.client import Client, Finding
from tests.chart.definitions import definitions
from tests.chart.rendering import CASES, HELMS, ROOT
from tests.support import yamlfast
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Steps = Callable[[Client], Iterator[str]]

KUBECTL: Final = ROOT / "build" / "helm" / "v4" / "kubectl"
PREFIX: Final = "bascule-acceptance"
POLICY: Final = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
CLASS: Final[dict[str, Any]] = {
    "apiVersion": "scheduling.k8s.io/v1",
    "kind": "PriorityClass",
    "metadata": {"name": "high"},
    "value": 1000,
}
"""Named by a case of the matrix; an API server refuses a pod whose class there is not."""


def lives() -> dict[str, Steps]:
    """Return the steps of every life by its name."""
    plain = {name: CASES["routes"] if not values else {} for name, values in CASES.items()}
    found: dict[str, Steps] = {
        name: partial(acceptance.lifecycle, values=values, plain=plain[name])
        for name, values in CASES.items()
    }
    for kind in ("hpa", "keda"):
        found[f"autoscaling by {kind}"] = partial(acceptance.by_autoscaler, kind=kind)
    return found | {
        "scaling by hand": acceptance.by_hand,
        "autoscaling under two Helms": lambda client: acceptance.by_turns(client, _other(client)),
    }


def _other(client: Client) -> Client:
    """Return the same with the other Helm."""
    (version,) = {*HELMS} - {client.helm.parent.name}
    return replace(client, helm=client.helm.parents[1] / version / "helm")


def live(client: Client, name: str, steps: Steps, keep: bool) -> bool:
    """Go through one life in a namespace of its own; tells whether nothing was found."""
    label = f"{client.helm.parent.name} {name}"
    began, last = time.monotonic(), "it has a namespace"
    try:
        client.call(
            client.kubectl, "apply", "--server-side", "--filename=-", stdin=_namespace(client.namespace)
        )
        for truth in steps(client):
            last = truth
    except Finding as finding:
        print(f"FOUND {label}, after «{last}»: {finding}", flush=True)
        return False
    finally:
        if not keep:
            client.run(client.kubectl, "delete", "namespace", client.namespace, "--wait=false")
    print(f"ok    {label} ({time.monotonic() - began:.0f} s)", flush=True)
    return True


def _namespace(name: str) -> str:
    """Return a namespace as a careful administrator hands it out."""
    hard = {"pods": "100", "requests.cpu": "1k", "requests.memory": "1Ei", "limits.memory": "1Ei"}
    limits = {"type": "Container", "default": {"memory": "512Mi"}, "defaultRequest": {"cpu": "100m"}}
    inside = {"namespace": name}
    return yamlfast.dump_all(
        [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": POLICY}},
            {
                "apiVersion": "v1",
                "kind": "ResourceQuota",
                "metadata": {"name": "quota", **inside},
                "spec": {"hard": hard},
            },
            {
                "apiVersion": "v1",
                "kind": "LimitRange",
                "metadata": {"name": "limits", **inside},
                "spec": {"limits": [limits]},
            },
            # Made by a controller; a pod without one is refused, also where no controller runs.
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", **inside}},
        ]
    )


@contextmanager
def furnished(client: Client, keep: bool) -> Iterator[None]:
    """Create what is missing in the whole cluster; yields, and deletes it again."""
    missing = [one for one in [CLASS, *definitions()] if not client.live([one])]
    text = yamlfast.dump_all(missing)
    if missing:
        client.call(client.kubectl, "create", "--filename=-", stdin=text)
        eventually(lambda: all(map(_is_served, client.live(missing))), 60, "the definitions are served")
    try:
        yield
    finally:
        if missing and not keep:
            client.run(client.kubectl, "delete", "--filename=-", "--wait=false", stdin=text)


def _is_served(manifest: dict[str, Any]) -> bool:
    conditions = manifest.get("status", {}).get("conditions", [])
    established = any(one["type"] == "Established" and one["status"] == "True" for one in conditions)
    return established or manifest["kind"] == CLASS["kind"]


def main(arguments: Sequence[str]) -> int:
    """Go through the lives that were asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--helm", nargs="+", choices=HELMS, default=list(HELMS), help="the Helms to use")
    parser.add_argument(
        "--only", nargs="+", default=[""], metavar="WORD", help="lives whose name has one of these"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="lives at once")
    parser.add_argument("--keep", action="store_true", help="leave namespaces and cluster-wide objects there")
    options = parser.parse_args(arguments)
    if not os.environ.get("KUBECONFIG"):
        parser.error("KUBECONFIG names no cluster")
    kubeconfig = Path(os.environ["KUBECONFIG"]).resolve()
    run = secrets.token_hex(2)  # the namespaces of a run before may still be on their way out

    def client(helm: str, name: str) -> Client:
        namespace = re.sub("[^a-z0-9]+", "-", f"{PREFIX}-{helm}-{name.lower()}-{run}")
        return Client(ROOT / "build" / "helm" / helm / "helm", KUBECTL, kubeconfig, namespace)

    asked = {name: steps for name, steps in lives().items() if any(word in name for word in options.only)}
    anyone = client("v4", "")
    print(anyone.run(KUBECTL, "version").stdout.strip().splitlines()[-1], flush=True)
    with furnished(anyone, options.keep), ThreadPoolExecutor(options.jobs) as pool:
        results = pool.map(
            lambda one: live(client(one[0], one[1]), one[1], asked[one[1]], options.keep),
            [(helm, name) for helm in options.helm for name in asked],
        )
        good = list(results)
    print(f"{good.count(True)} passed, {good.count(False)} failed", flush=True)
    return 0 if all(good) and good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
