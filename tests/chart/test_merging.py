"""Who owns what, and what a merge leaves, as a real kube-apiserver 1.36 answered to the same requests."""

import copy
from typing import Any

import pytest

from tests.chart.merging import Conflict, Owners, applied, leaves, merged, notes, strategic, updated

HELM = ("helm", "Apply", "")
SCALER = ("kube-controller-manager", "Update", "scale")
NUMBER = ("spec", "replicas")


def deployment(*volumes: str, **spec: Any) -> dict[str, Any]:
    pod = {"volumes": [{"name": name, "emptyDir": {}} for name in volumes]} if volumes else {}
    return {"kind": "Deployment", "metadata": {"name": "ws"}, "spec": {"template": {"spec": pod}, **spec}}


def volumes_of(manifest: dict[str, Any]) -> list[str]:
    return [volume["name"] for volume in manifest["spec"]["template"]["spec"]["volumes"]]


def scaled(live: dict[str, Any], owners: Owners, number: int) -> dict[str, Any]:
    after = copy.deepcopy(live)
    after["spec"]["replicas"] = number
    updated(live, after, owners, SCALER)
    return after


def owners_of_the_number(owners: Owners) -> set[tuple[str, str, str]]:
    return {owner for owner, paths in owners.items() if NUMBER in paths}


def test_another_number_takes_the_field_away_from_who_applied_it() -> None:
    owners: Owners = {}
    live = applied({}, deployment(replicas=2), owners, "helm", force=False)
    assert owners_of_the_number(owners) == {HELM}
    scaled(live, owners, 5)
    assert owners_of_the_number(owners) == {SCALER}


def test_the_same_number_is_owned_together_and_may_be_left_out() -> None:
    owners: Owners = {}
    live = scaled(applied({}, deployment(replicas=2), owners, "helm", force=False), owners, 5)
    live = applied(live, deployment(replicas=5), owners, "helm", force=False)
    assert owners_of_the_number(owners) == {HELM, SCALER}
    live = applied(live, deployment(), owners, "helm", force=False)
    assert owners_of_the_number(owners) == {SCALER}
    assert live["spec"]["replicas"] == 5


def test_a_field_that_nobody_else_owns_goes_when_it_is_left_out() -> None:
    owners: Owners = {}
    live = applied({}, deployment(replicas=2), owners, "helm", force=False)
    assert "replicas" not in applied(live, deployment(), owners, "helm", force=False)["spec"]


def test_another_value_is_a_conflict_that_force_decides() -> None:
    owners: Owners = {}
    live = scaled(applied({}, deployment(replicas=2), owners, "helm", force=False), owners, 5)
    with pytest.raises(Conflict, match="kube-controller-manager"):
        applied(live, deployment(replicas=3), owners, "helm", force=False)
    assert owners_of_the_number(owners) == {SCALER}
    assert applied(live, deployment(replicas=3), owners, "helm", force=True)["spec"]["replicas"] == 3
    assert owners_of_the_number(owners) == {HELM}


def test_items_of_a_keyed_list_have_owners_of_their_own() -> None:
    owners: Owners = {}
    live = applied({}, deployment("a", "b"), owners, "helm", force=False)
    live = applied(live, deployment("c"), owners, "somebody", force=False)
    live = applied(live, deployment("b"), owners, "helm", force=False)
    assert volumes_of(live) == ["b", "c"]


def test_the_notes_have_the_form_that_templates_read() -> None:
    owners: Owners = {}
    given = deployment("a", replicas=2)
    given["metadata"]["annotations"] = {"meta.helm.sh/release-name": "ws"}
    applied({}, given, owners, "helm", force=False)
    (entry,) = notes(owners)
    fields = entry["fieldsV1"]
    assert (entry["manager"], entry["operation"], entry.get("subresource")) == ("helm", "Apply", None)
    assert fields["f:metadata"] == {"f:annotations": {"f:meta.helm.sh/release-name": {}}}
    assert fields["f:spec"]["f:replicas"] == {}
    volumes = fields["f:spec"]["f:template"]["f:spec"]["f:volumes"]
    assert volumes == {'k:{"name":"a"}': {".": {}, "f:emptyDir": {}, "f:name": {}}}


def test_a_strategic_patch_removes_with_null_and_by_directive() -> None:
    live = deployment("a", "b", replicas=2)
    patch = {
        "spec": {
            "replicas": None,
            "template": {
                "spec": {
                    "$setElementOrder/volumes": [{"name": "c"}, {"name": "b"}],
                    "volumes": [
                        {"$patch": "delete", "name": "a"},
                        {"$retainKeys": ["name", "secret"], "name": "b", "secret": {"secretName": "s"}},
                        {"name": "c", "emptyDir": {}},
                    ],
                }
            },
        }
    }
    after = strategic(live, patch)
    assert "replicas" not in after["spec"]
    assert after["spec"]["template"]["spec"]["volumes"] == [
        {"name": "c", "emptyDir": {}},
        {"name": "b", "secret": {"secretName": "s"}},
    ]


def test_a_selector_is_one_leaf() -> None:
    assert list(leaves({"spec": {"selector": {"matchLabels": {"a": "b", "c": "d"}}}})) == [
        ("spec", "selector")
    ]


def test_a_list_without_keys_is_one_leaf() -> None:
    rules = {"spec": {"rules": [{"host": "a"}, {"host": "b"}]}}
    assert list(leaves(rules)) == [("spec", "rules")]
    assert merged(rules, {"spec": {"rules": [{"host": "c"}]}}) == {"spec": {"rules": [{"host": "c"}]}}
    assert strategic(rules, {"spec": {"rules": [{"host": "c"}]}}) == {"spec": {"rules": [{"host": "c"}]}}
