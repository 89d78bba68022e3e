"""The variables of the environment that set keys.

A variable is ``BASCULE_`` and the key path, blocks separated by two underscores, in any case:
``BASCULE_LISTEN``, ``BASCULE_WEBSOCKETPROXY__MAXSESSIONSPERAPP``. Values are YAML; lists may
also be written with commas. An empty variable counts as not set. What Kubernetes sets
for a Service called "bascule" (``BASCULE_PORT=tcp://…``, ``BASCULE_SERVICE_HOST``…) is not ours.

Rules of this file: it is given the environment; it does not look for it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from bascule.configuration.allowed import schema_at
from bascule.configuration.config import Config
from bascule.configuration.layers import Layer, put
from bascule.configuration.model import KeyPath, blocks, leaves
from bascule.configuration.problems import Mistake, dotted, folded, nearest_key
from bascule.configuration.yamltext import YamlProblem, parse_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bascule.configuration.problems import Path, Problems

__all__ = ["PREFIX", "environment_layer"]

PREFIX: Final = "BASCULE_"
_RESERVED: Final = frozenset({"BASCULE_PURE", "BASCULE_CONFIG"})
"""Variables that are no keys: the switch to the pure hot path, and the configuration file's path."""
_FOREIGN: Final = re.compile(
    # Kubernetes' service links, by name and value: a key of ours that is misspelt may end in _PORT, too.
    r"BASCULE_(?:[A-Z0-9_]+_)?(?:"
    r"(?:SERVICE_HOST|PORT_[0-9]+_(?:TCP|UDP|SCTP)_ADDR)=[0-9A-Fa-f.:]+"
    r"|(?:SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)_PORT)=[0-9]+"
    r"|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP))?=(?:tcp|udp|sctp)://\S+"
    r"|PORT_[0-9]+_(?:TCP|UDP|SCTP)_PROTO=(?:tcp|udp|sctp)"
    r")|BASCULE_TEST_\w+=.*",  # the switches of our own tests
    re.DOTALL,
)


def environment_layer(environ: Mapping[str, str], problems: Problems) -> Layer:
    """Return what the environment says, and add what is wrong with it to the problems."""
    keys: dict[str, KeyPath] = {"__".join(path).lower(): path for path, _ in leaves(Config)}
    variables: dict[KeyPath, str] = {}
    data: dict[str, object] = {}
    for variable in sorted(environ):
        name = variable[len(PREFIX) :].lower()
        if (
            not variable.upper().startswith(PREFIX)
            or variable.upper() in _RESERVED
            or environ[variable] == ""
        ):
            continue
        path = keys.get(name)
        if path is None:
            if not _FOREIGN.fullmatch(f"{variable.upper()}={environ[variable]}"):
                problems.add(variable, _unknown_variable(name))
            continue
        if path in variables:
            problems.add(variable, Mistake(path, f"set twice; {variables[path]} is the same key"))
            continue
        variables[path] = variable
        try:
            put(data, path, _from_text(path, environ[variable]))
        except YamlProblem as error:
            problems.add(variable, Mistake(path, f"not YAML, at character {error.column}: {error.what}"))
    return Layer("environment", data, lambda key: _variable_of(variables, key))


def _unknown_variable(name: str) -> Mistake:
    path = tuple(name.split("__"))
    blocks_by_name = {tuple(part.lower() for part in key): key for key, _, _ in blocks(Config)}
    if path in blocks_by_name:
        return Mistake(blocks_by_name[path], "a block of keys; set its keys one by one")
    for key, _ in leaves(Config):
        if folded("".join(key)) == folded(name):
            # Two underscores stand for a dot; an operator easily writes only one.
            return Mistake((), f"no such key; did you mean {PREFIX}{'__'.join(key).upper()}?")
    known = blocks_by_name.get(path[:-1])
    near = nearest_key((*known, path[-1]) if known else (path[-1],))
    if near is None:
        return Mistake((), "no such key")
    full = f"{dotted(known)}.{near}" if known and "." not in near else near
    return Mistake((), f"no such key; did you mean {PREFIX}{full.replace('.', '__').upper()}?")


def _from_text(path: KeyPath, text: str) -> object:
    """Give the text of a variable the type its key has."""
    schema = schema_at(path) or {}
    options = schema.get("anyOf")
    kinds = {option.get("type") for option in (options if isinstance(options, list) else [schema])}
    if kinds <= {"string", "null"}:  # "8080" may be a token and ":8080" is no YAML
        return None if text == "null" and "null" in kinds else text
    if kinds == {"array"} and not _is_bracketed(text.strip()):  # "[::1]:8081" is an entry
        return [item.strip() for item in text.split(",") if item.strip()]
    return parse_yaml(text.encode("utf-8", "surrogateescape")).data


def _is_bracketed(text: str) -> bool:
    return text.startswith("[") and text.endswith("]")


def _variable_of(variables: Mapping[KeyPath, str], key: Path) -> str:
    return next((name for path, name in variables.items() if key[: len(path)] == path), "environment")
