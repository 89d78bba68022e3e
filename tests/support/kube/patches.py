"""What a PATCH makes of an object: RFC 7386 merging, and as much of strategic merging as a chart needs."""

from typing import Any

__all__ = ["merged", "strategically_merged"]


def merged(base: Any, patch: Any) -> Any:
    """Return a JSON merge patch's result: ``null`` takes a key away, lists are replaced."""
    if not isinstance(patch, dict):
        return patch
    result = dict(base) if isinstance(base, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def strategically_merged(base: Any, patch: Any) -> Any:
    """Return the result of a patch that merges lists of named things by their names.

    Kubernetes merges each list by a key of its own; every list of the chart that is merged has ``name``.
    Lists without names are replaced.
    """
    if isinstance(patch, dict):
        result = dict(base) if isinstance(base, dict) else {}
        for key, value in patch.items():
            if key.startswith("$"):  # the order of a list's elements, which changes nothing here
                continue
            if value is None:
                result.pop(key, None)
            else:
                result[key] = strategically_merged(result.get(key), value)
        return result
    if isinstance(patch, list) and patch and all(isinstance(one, dict) and "name" in one for one in patch):
        named = {one["name"]: one for one in base or []}
        for one in patch:
            if one.get("$patch") == "delete":
                named.pop(one["name"], None)
            else:
                named[one["name"]] = strategically_merged(named.get(one["name"]), one)
        return list(named.values())
    return patch
