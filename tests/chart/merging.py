"""How an API server merges what clients send: strategic patches, applied configurations, and who owns what.

As much of it as the chart's kinds need; tests/chart/test_merging.py has what a real API server answered.
A *path* leads to a leaf: names of fields, and for an item of a keyed list its keys as a JSON text.
"""

import copy
import json
from collections.abc import Iterable
from typing import Any, Final

__all__ = ["Conflict", "Owners", "Path", "applied", "leaves", "merged", "notes", "strategic", "updated"]

Path = tuple[str, ...]
Owner = tuple[str, str, str]
"""Manager, operation, subresource."""
Owners = dict[Owner, set[Path]]

_KEYS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "containers": (("name",),),
    "env": (("name",),),
    "imagePullSecrets": (("name",),),
    "ports": (("containerPort", "protocol"), ("port", "protocol")),
    "topologySpreadConstraints": (("topologyKey", "whenUnsatisfiable"),),
    "volumeMounts": (("mountPath",),),
    "volumes": (("name",),),
}
"""What tells the items of a list apart; any other list is one leaf. Patches go by the first key alone."""
_ATOMIC: Final = {"labelSelector", "nodeSelector", "podSelector", "scaleTargetRef", "selector"}
"""Maps that are one leaf each."""
_NOT_OWNED: Final = {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")}


class Conflict(Exception):
    """Somebody else owns a field that was applied with another value."""


def _keys(name: str, items: list[Any]) -> tuple[str, ...]:
    for keys in _KEYS.get(name, ()):
        if items and all(isinstance(item, dict) and keys[0] in item for item in items):
            return keys
    return ()


def _label(item: dict[str, Any], keys: tuple[str, ...]) -> str:
    return json.dumps({key: item[key] for key in keys if key in item}, sort_keys=True, separators=(",", ":"))


def leaves(value: Any, path: Path = ()) -> dict[Path, Any]:
    """Return every leaf of an object with its value."""
    if isinstance(value, dict) and value and not _ATOMIC & set(path[-1:]):
        found: dict[Path, Any] = {}
        for name, one in value.items():
            found |= leaves(one, (*path, name))
        return {step: one for step, one in found.items() if step not in _NOT_OWNED}
    if isinstance(value, list) and path and (keys := _keys(path[-1], value)):
        found = {}
        for item in value:
            place = (*path, _label(item, keys))
            found[(*place, ".")] = True
            found |= leaves(item, place)
        return found
    return {path: value}


def merged(live: Any, given: Any, name: str = "") -> Any:
    """Return an object with everything of another one put over it."""
    if isinstance(live, dict) and isinstance(given, dict) and name not in _ATOMIC:
        return {
            **live,
            **{key: merged(live.get(key), value, key) for key, value in given.items() if value is not None},
        }
    if isinstance(live, list) and isinstance(given, list) and (keys := _keys(name, [*live, *given])):
        new = {_label(item, keys): item for item in given}
        old = {_label(item, keys): item for item in live}
        order = (
            list(new) if old.keys() <= new.keys() else [*old, *(label for label in new if label not in old)]
        )
        return [merged(old.get(label, {}), new.get(label, {})) for label in order]
    return copy.deepcopy(given)


def strategic(live: Any, patch: Any, name: str = "") -> Any:
    """Return an object with a strategic merge patch put over it."""
    if isinstance(patch, list):
        items = live if isinstance(live, list) else []
        return _strategic_list(items, patch, name)
    if not isinstance(patch, dict):
        return patch
    if patch.get("$patch") == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    result = dict(live) if isinstance(live, dict) else {}
    if "$retainKeys" in patch:
        result = {key: value for key, value in result.items() if key in patch["$retainKeys"]}
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            result.pop(key, None)
        else:
            result[key] = strategic(result.get(key), value, key)
    for key, order in patch.items():
        listed = key.removeprefix("$setElementOrder/")
        if listed != key and listed in result:
            result[listed] = _ordered(result[listed], order)
    return result


def _strategic_list(live: list[Any], patch: list[Any], name: str) -> list[Any]:
    keys = _keys(name, [*live, *patch])[:1]
    if not keys:
        return patch
    (key,) = keys
    result = {item[key]: item for item in live}
    for item in patch:
        if item.get("$patch") == "delete":
            result.pop(item[key], None)
        else:
            result[item[key]] = strategic(result.get(item[key]), item)
    return list(result.values())


def _ordered(items: list[Any], order: list[dict[str, Any]]) -> list[Any]:
    places = {tuple(sorted(entry.items())): number for number, entry in enumerate(order)}

    def place(item: dict[str, Any]) -> int:
        return min(
            (number for entry, number in places.items() if set(entry) <= set(_scalars(item))),
            default=len(places),
        )

    return sorted(items, key=place)


def _scalars(item: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    return [(key, value) for key, value in item.items() if not isinstance(value, dict | list)]


def applied(live: Any, given: Any, owners: Owners, manager: str, force: bool) -> Any:
    """Return an object after an apply, and note in ``owners`` who owns what now.

    Raises:
        Conflict: Without ``force``; nothing has changed then.
    """
    me = (manager, "Apply", "")
    new, old = leaves(given), leaves(live)
    taken = {
        owner: paths & {path for path, value in new.items() if old.get(path) != value}
        for owner, paths in owners.items()
        if owner != me
    }
    if any(taken.values()) and not force:
        who = [f'"{owner[0]}": {"/".join(path)}' for owner, paths in taken.items() for path in sorted(paths)]
        raise Conflict(f"Apply failed with {len(who)} conflict(s): conflict with {', '.join(who)}")
    for owner, paths in taken.items():
        owners[owner] -= paths
    result = merged(live, given)
    others: set[Path] = set().union(*(paths for owner, paths in owners.items() if owner != me))
    gone = owners.get(me, set()) - new.keys() - others
    # Whole items first: what is inside one is found by its keys.
    for path in sorted(gone, key=lambda path: path[-1] != "."):
        _remove(result, path)
    owners[me] = set(new)
    _drop_empty(owners)
    return result


def updated(before: Any, after: Any, owners: Owners, owner: Owner) -> None:
    """Note in ``owners`` what an owner has changed by sending or patching an object."""
    old, new = leaves(before), leaves(after)
    changed = {path for path, value in new.items() if path not in old or old[path] != value}
    for paths in owners.values():
        paths -= changed | (old.keys() - new.keys())
    if changed:
        owners.setdefault(owner, set()).update(changed)
    _drop_empty(owners)


def _drop_empty(owners: Owners) -> None:
    for empty in [owner for owner, paths in owners.items() if not paths]:
        del owners[empty]


def _remove(value: Any, path: Path) -> None:
    """Remove a leaf, and what is empty without it."""
    name, *rest = path
    if rest and isinstance(value.get(name), list):
        label, *inner = rest
        items = value[name]
        keys = _keys(name, items)
        for item in [item for item in items if _label(item, keys) == label]:
            if inner == ["."]:
                items.remove(item)
            else:
                _remove(item, tuple(inner))
    elif rest and isinstance(value.get(name), dict):
        _remove(value[name], tuple(rest))
        if not value[name]:
            del value[name]
    elif not rest:
        value.pop(name, None)


def notes(owners: Owners) -> list[dict[str, Any]]:
    """Return ``managedFields`` as clients see them."""
    entries = []
    for (manager, operation, subresource), paths in owners.items():
        fields: dict[str, Any] = {}
        for path in sorted(paths):
            place = fields
            for step in path:
                prefix = "" if step == "." else "k:" if step.startswith("{") else "f:"
                place = place.setdefault(prefix + step, {})
        entry = {"manager": manager, "operation": operation, "fieldsType": "FieldsV1", "fieldsV1": fields}
        entries.append(entry | ({"subresource": subresource} if subresource else {}))
    return entries
