"""The life of a release in front of an API server: what must hold whatever the values are.

Each step is one promise to whoever installs the chart. The steps need an API server and no more: with a
controller manager and nodes beside it they hold as well, without them nothing waits for a pod. The same steps
run in the tests against tests/chart/cluster.py and, by tests/chart/accept.py, against a real cluster.
"""

import copy
import time
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from tests.chart.client import RELEASE, Client, Finding
from tests.chart.comparing import missing_of, normal
from tests.chart.rendering import Manifest, one, websocket_proxy
from tests.support import yamlfast

__all__ = ["by_autoscaler", "by_hand", "by_turns", "lifecycle"]

Values = dict[str, Any]
Snapshot = dict[str, Manifest]

GONE_WITHIN: Final = 30.0
"""Seconds after which an object that was deleted should not be there any more."""


def lifecycle(client: Client, values: Values, plain: Values) -> Iterator[str]:
    """Install, upgrade, roll back and uninstall; yields each thing that was found true.

    Args:
        client: In a namespace without a release.
        values: Those of the case.
        plain: Other values, for the release to become something else in between.

    Raises:
        Finding: One of the promises was broken, or the server warned.
    """
    rendered = client.rendered(values)
    _dry(client, rendered, "create", "--validate=strict")
    yield "the server takes every object and knows every field"
    client.upgrade(values, "--dry-run=server")
    client.upgrade(values)
    first = _snapshot(client)
    yield "it installs, and what is there is what was asked for"
    _dry(client, [_pod(rendered)], "create", "--validate=strict")
    yield "its pods are admitted under the policy and the quota of the namespace"
    _dry(client, client.given(), "apply", "--server-side", "--force-conflicts")
    yield "another client may apply the same on the server"
    client.upgrade(values)
    _must_be_equal(first, _snapshot(client), "after an upgrade with the same values")
    yield "the same values again change nothing"
    client.upgrade(plain)
    between = _snapshot(client)
    client.upgrade(_restarted(values))
    _must_differ(first, _snapshot(client))
    yield "it becomes what other values say, and a larger cap replaces the pods"
    client.call(client.helm, "rollback", RELEASE, "1")
    _must_be_equal(first, _snapshot(client), "after a rollback to the first revision")
    client.call(client.helm, "rollback", RELEASE, "3")
    _must_be_equal(between, _snapshot(client), "after a rollback to the third revision")
    yield "a rollback leaves nothing of what came between"
    uninstall(client, [*first.values(), *between.values()])
    yield "nothing stays when it is uninstalled"


def by_autoscaler(client: Client, kind: str) -> Iterator[str]:
    """Switch autoscaling on and off again under a number of pods that is not the values' own."""
    off, on = {"replicaCount": 3}, {"autoscaling": {"enabled": True, "type": kind}}
    client.upgrade(off)
    client.upgrade(on)
    _must_run(client, 3, "after autoscaling was switched on")
    yield "switching autoscaling on leaves the number of pods alone"
    _scale(client, 5)
    for cap in (700, 800):
        client.upgrade({**on, **websocket_proxy(maxSessionsPerApp=cap)})
        _must_run(client, 5, "after an upgrade of what an autoscaler scales")
    yield "upgrades leave it to the autoscaler"
    _scale(client, 6)
    client.call(client.helm, "rollback", RELEASE, "3")
    # Helm 3 has had to name a number in every revision, Helm 4 in none since the autoscaler named its own.
    _must_run(client, 6 if client.applies_on_the_server() else 5, "after a rollback")
    yield "a rollback goes to the number that its revision names, if it names one"
    _scale(client, 5)
    client.upgrade({"replicaCount": 5})
    _must_run(client, 5, "after autoscaling was switched off at the number of the moment")
    yield "switching it off at the present number moves nobody"
    client.upgrade(on)
    _scale(client, 4)
    if client.applies_on_the_server():
        _must_conflict(client, client.run(client.helm, "rollback", RELEASE, "1"))
        client.call(client.helm, "rollback", RELEASE, "1", "--force-conflicts")
    else:
        client.call(client.helm, "rollback", RELEASE, "1")
    _must_run(client, 3, "after a rollback to a revision without autoscaling")
    yield "a rollback to before it goes to the number of then"
    uninstall(client, client.given())


def by_hand(client: Client) -> Iterator[str]:
    """Scale with kubectl under a release that names a number itself."""
    client.upgrade({"replicaCount": 3})
    _scale(client, 6)
    if client.applies_on_the_server():
        _must_conflict(client, client.try_upgrade({"replicaCount": 3}))
    else:
        client.upgrade({"replicaCount": 3})
        _must_run(client, 3, "after an upgrade by Helm 3")
        _scale(client, 6)
    yield "a number given by hand is the next upgrade's to take back, or to stop at"
    client.upgrade({"replicaCount": 6})
    _must_run(client, 6, "with the number given by hand in the values")
    yield "the same number in the values is no conflict"
    uninstall(client, client.given())


def by_turns(client: Client, other: Client) -> Iterator[str]:
    """Upgrade one autoscaled release with one Helm and another, which merge in different places."""
    on = {"autoscaling": {"enabled": True}}
    client.upgrade({"replicaCount": 3})
    client.upgrade(on)
    _scale(client, 5)
    for turn in (other, client, other, client):
        turn.upgrade(on)
        _must_run(client, 5, f"after an upgrade by {turn.helm.parent.name}")
    yield "two Helms in turns leave the number of pods alone"
    uninstall(client, client.given())


def uninstall(client: Client, manifests: list[Manifest]) -> None:
    """Uninstall the release and wait until its objects are gone."""
    client.call(client.helm, "uninstall", RELEASE)
    deadline = time.monotonic() + GONE_WITHIN
    while left := client.live(manifests):
        if time.monotonic() > deadline:
            raise Finding(f"still there: {', '.join(map(_title, left))}")


def _dry(client: Client, manifests: list[Manifest], *arguments: str) -> None:
    verb, *options = arguments
    client.call(
        client.kubectl,
        *(verb, "--dry-run=server", "--filename=-", *options),
        stdin=yamlfast.dump_all(manifests),
    )


def _pod(manifests: list[Manifest]) -> Manifest:
    """Return a pod as the controllers make it of the Deployment."""
    deployment = one(manifests, "Deployment")
    template = copy.deepcopy(deployment["spec"]["template"])
    metadata = {**template["metadata"], "generateName": f"{deployment['metadata']['name']}-"}
    metadata["namespace"] = deployment["metadata"]["namespace"]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def _snapshot(client: Client) -> Snapshot:
    """Return the release's objects by title, having checked that each is what Helm was asked for."""
    given = client.given()
    live = {_title(manifest): manifest for manifest in client.live(given)}
    for manifest in given:
        title = _title(manifest)
        if title not in live:
            raise Finding(f"{title} is not there")
        if missing := missing_of(manifest, live[title]):
            raise Finding(f"{title} is not as it was asked for: {'; '.join(missing)}")
    scaled = any(manifest["kind"] in {"HorizontalPodAutoscaler", "ScaledObject"} for manifest in given)
    return {title: normal(manifest, keep_replicas=not scaled) for title, manifest in live.items()}


def _title(manifest: Manifest) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def _must_be_equal(expected: Snapshot, found: Snapshot, when: str) -> None:
    if expected.keys() != found.keys():
        raise Finding(f"{when} there are {sorted(found)} instead of {sorted(expected)}")
    for title, manifest in expected.items():
        if missing := missing_of(manifest, found[title]) + missing_of(found[title], manifest):
            raise Finding(f"{when} {title} is not what it was: {'; '.join(missing)}")


def _restarted(values: Values) -> Values:
    """Return the same values with another receive window: no running proxy takes that over."""
    changed = copy.deepcopy(values)
    forwarders = changed.setdefault("forwarders", {})
    forwarders["readBufferBytes"] = forwarders.get("readBufferBytes", 65536) * 2
    return changed


def _must_differ(before: Snapshot, after: Snapshot) -> None:
    def template(snapshot: Snapshot) -> object:
        return one(list(snapshot.values()), "Deployment")["spec"]["template"]

    if template(before) == template(after):
        raise Finding("another receive window left the pods as they were")


def _scale(client: Client, number: int) -> None:
    """Set the number of pods as an autoscaler does: by the Deployment's subresource."""
    client.call(
        client.kubectl,
        "scale",
        f"deployment/{_deployment(client)['metadata']['name']}",
        f"--replicas={number}",
    )


@cache
def _deployment(client: Client) -> Manifest:
    """Return a Deployment to ask the server for: its name stays as long as the release does."""
    return one(client.given(), "Deployment")


def _must_run(client: Client, number: int, when: str) -> None:
    (live,) = client.live([_deployment(client)])
    if live["spec"]["replicas"] != number:
        raise Finding(f"{live['spec']['replicas']} pods instead of {number} {when}")


def _must_conflict(client: Client, done: Any) -> None:
    if done.returncode == 0 or "conflict" not in done.stderr:
        raise Finding(f"no conflict over a number that is somebody else's: {done.stdout}{done.stderr}")
