"""A values file whose lines are commented out: what is null has its default, or is refused with a reason.

Helm takes a key that is null out of the values, and the chart's default with it.
"""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from scripts import chart_values, charts

from tests.chart.rendering import CHART, HELMS, Manifest, refusal, render

pytestmark = pytest.mark.real

Path = tuple[str, ...]

TREE: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
MAY_BE_NULL = {tuple(path.split(".")) for path in charts.may_be_null(chart_values.Values())}
ON: dict[str, Any] = {
    "dashboard": {"enabled": True},
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway"}]},
    "ingress": {"enabled": True},
    "networkPolicy": {"enabled": True},
    "podMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True},
}
MEANS_SOMETHING = {"resources", "runAsUser"}
POOL = "leave it out to have the default"


def below(tree: dict[str, Any], above: Path = ()) -> Iterator[tuple[Path, bool]]:
    """Yield every key, and whether it is a block."""
    for key, value in tree.items():
        path = (*above, key)
        is_block = isinstance(value, dict) and path not in MAY_BE_NULL
        yield path, is_block
        if is_block:
            yield from below(value, path)


def with_null(values: dict[str, Any], *paths: Path) -> dict[str, Any]:
    """Return the values with something null in them."""
    changed = copy.deepcopy(values)
    for *above, key in paths:
        place = changed
        for name in above:
            place = place.setdefault(name, {})
        place[key] = None
    return changed


OF_THE_POOL = [path for path, _ in below(TREE) if path[0] == "hopsworks"]
ONE_BY_ONE = [path for path, _ in below(TREE["probes"], ("probes",))]
OTHERS = [(path, is_block) for path, is_block in below(TREE) if path not in {*OF_THE_POOL, *ONE_BY_ONE}]
BLOCKS = [path for path, is_block in OTHERS if is_block]
KEYS = [path for path, is_block in OTHERS if not is_block and path not in MAY_BE_NULL]


def at(tree: dict[str, Any], path: Path) -> Any:
    """Return what stands there, or an empty map."""
    for key in path:
        tree = tree.get(key, {})
    return tree


def without(values: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the values as if nobody had written the block."""
    return {key: value for key, value in values.items() if (key,) != path}


def rendered(version: str, values: dict[str, Any]) -> list[Manifest]:
    return render(version, {"routes": [{"name": "a", "path": "/", "upstream": "http://a"}], **values})


@pytest.mark.parametrize("version", HELMS)
@pytest.mark.parametrize("path", BLOCKS, ids=".".join)
def test_a_block_that_is_null_has_its_defaults(version: str, path: Path) -> None:
    assert rendered(version, with_null(ON, path)) == rendered(version, without(ON, path))


@pytest.mark.parametrize("version", HELMS)
@pytest.mark.parametrize(
    "key", [key for key in TREE if key not in {"hopsworks", "routes", *MEANS_SOMETHING}], ids=str
)
def test_whatever_stands_at_the_top_may_be_null(version: str, key: str) -> None:
    assert rendered(version, with_null({}, (key,))) == rendered(version, {})


@pytest.mark.parametrize("version", HELMS)
def test_keys_that_are_null_have_their_defaults(version: str) -> None:
    keys = [path for path in KEYS if at(ON, path) is not True]
    assert rendered(version, with_null(ON, *keys)) == rendered(version, ON)


@pytest.mark.parametrize("version", HELMS)
def test_no_routes_are_an_empty_list(version: str) -> None:
    assert render(version, {"routes": None}) == render(version, {})


@pytest.mark.parametrize("version", HELMS)
@pytest.mark.parametrize(
    ("values", "reason"),
    [
        *((with_null({}, path), POOL) for path in OF_THE_POOL),
        ({"ingress": {"enabled": True, "hosts": None}}, "ingress.hosts is empty"),
        ({"httpRoute": {"enabled": True, "parentRefs": None}}, "needs httpRoute.parentRefs"),
        (with_null(ON, ("httpRoute", "paths")), "httpRoute.paths is empty"),
        *((with_null({}, path), path[-1]) for path in ONE_BY_ONE),
    ],
)
def test_what_is_null_and_needed_is_refused_by_name(
    version: str, values: dict[str, Any], reason: str
) -> None:
    said = refusal(version, values)
    assert reason in said
    assert "nil pointer" not in said


def test_every_object_asks_for_whole_values_first() -> None:
    files = [*(CHART / "templates").glob("*.yaml"), CHART / "templates" / "NOTES.txt"]
    for file in files:
        first = file.read_text(encoding="utf-8").partition("*/ -}}\n")
        text = first[2] or first[0]
        assert text.startswith('{{- include "bascule.whole" . -}}\n'), file.name
