"""The one loader: defaults < files < environment < flags.

One run reports every problem of a configuration, each with its place.
A whole values file of the Hopsworks chart is accepted as it is: the five keys below
``hopsworks.payara.websocketProxy`` are read, the other keys belong to other programs.

Environment: ``BASCULE_`` and the key path, blocks separated by two underscores, in any case:
``BASCULE_LISTEN``, ``BASCULE_WEBSOCKETPROXY__MAXSESSIONSPERAPP``. Values are YAML; lists may
also be written with commas. An empty variable counts as not set. What Kubernetes sets
for a Service called "bascule" (``BASCULE_PORT=tcp://…``, ``BASCULE_SERVICE_HOST``…) is not ours.

Rules of this file: only the command line, and the supervisor for a reload, load a configuration, and they
pass the result on; no other code takes configuration from files or the environment. The files that
``…File`` keys and ``tls`` name are not read here, but by the code that needs them.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from bascule.errors import ConfigError
from bascule.policy.allowed import schema_at
from bascule.policy.config import Config
from bascule.policy.model import Block, KeyPath, blocks, files, leaves
from bascule.policy.namedfile import ALLOWED, check_file
from bascule.policy.problems import Mistake, dotted, folded, nearest, nearest_key, problems_of
from bascule.policy.yamltext import YamlProblem, parse_yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

__all__ = ["PREFIX", "Loaded", "check_files", "load", "load_some", "unwritten"]

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
_MOST_BYTES: Final = 4 * 2**20
"""Largest configuration file, some 60,000 routes: a log or a data set that is given by mistake must neither
take minutes nor all memory."""
_HOPSWORKS: Final = ("hopsworks", "payara", "websocketProxy")
_ANYBODYS: Final = frozenset({"admin", "auth", "capacity", "drain", "log", "metrics", "readiness"})
"""Keys that a platform's values file may use for a chart or a setting of its own, so we ignore them there.
That is safe even if one was meant for us: `admin` stays on the loopback, and no login works without a key."""

_MISSPELT: Final = 0.9
"""Likeness (difflib) from which a key of a platform's file counts as a misspelling of one in `_HOPSWORKS`."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and where each of its values came from.

    Attributes:
        config: The configuration.
        sources: Dotted key path of every leaf → ``default``, ``file``, ``environment`` or ``flag``. The
            routes are one leaf; a key that a route leaves out has an entry: ``routes[0].auth`` → ``default``.
        files: The files it was read from.
        replaced: Where routes stand that the command line replaces, such as ``bascule.yaml:7``.
    """

    config: Config
    sources: Mapping[str, str]
    files: tuple[Path, ...] = ()
    replaced: tuple[str, ...] = ()

    def with_routes_of(self, config: Config, source: str) -> Loaded:
        """Return the same for another configuration, whose routes come from ``source``."""
        kept = {key: each for key, each in self.sources.items() if not key.startswith("routes[")}
        return Loaded(
            config, {**kept, "routes": source, **dict.fromkeys(unwritten(config), "default")}, self.files
        )


def unwritten(config: Config) -> Iterator[str]:
    """Yield the dotted key paths that the routes leave out, so that the model's defaults hold."""
    for index, route in enumerate(config.routes):
        for name, field in type(route).model_fields.items():
            if name not in route.model_fields_set:
                yield dotted(("routes", index, field.alias or name))


@dataclass(frozen=True, slots=True)
class _Layer:
    """What one source says."""

    source: str
    data: dict[str, object]
    where: Callable[[tuple[str | int, ...]], str]
    """Key → where it stands, as a problem names it: ``bascule.yaml:7``."""


class _Problems:
    """Collects a line for each problem; `stop` raises `ConfigError` with all of them, if there are any."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, where: str, problem: Mistake) -> None:
        self.lines.append(": ".join(part for part in (where, dotted(problem.path), problem.text) if part))

    def stop(self) -> None:
        if self.lines:
            raise ConfigError(self.lines)


def load(
    path: Path | Sequence[Path] | None,
    environ: Mapping[str, str],
    overrides: Mapping[str, object] | None = None,
    defaults: Mapping[str, object] | None = None,
    arguments: Mapping[str, str] | None = None,
) -> Loaded:
    """Load the configuration.

    Args:
        path: The file, or several of which a later one wins key by key; ``None`` for none.
        environ: The environment.
        overrides: Dotted key path → value, from the command line.
        defaults: Dotted key path → value that a command prefers to the model's default.
        arguments: Dotted key path → what sets it on the command line, as a problem names it: ``--listen``.

    Raises:
        ConfigError: It cannot be used; carries every problem that was found.
    """
    problems = _Problems()
    paths = [path] if isinstance(path, Path) else list(path or ())
    layers = _layers(paths, environ, overrides or {}, defaults or {}, arguments or {}, problems)
    merged = _merged(layers)
    if environ.get("HOSTNAME"):
        capacity = merged.setdefault("capacity", {})
        if isinstance(capacity, dict) and capacity.get("name") is None:
            layers.insert(0, _Layer("environment", {"capacity": {"name": environ["HOSTNAME"]}}, _hostname))
            capacity["name"] = environ["HOSTNAME"]
    config = _validated(merged, layers, problems)
    sources = {dotted(key): _source(layers, key) for key, _ in leaves(Config)}
    return Loaded(
        config,
        {**sources, **dict.fromkeys(unwritten(config), "default")},
        tuple(paths),
        _replaced(layers) if sources["routes"] == "flag" else (),
    )


def load_some(
    keys: Collection[str],
    paths: Sequence[Path],
    environ: Mapping[str, str],
    overrides: Mapping[str, object],
    arguments: Mapping[str, str],
) -> Config:
    """Load some keys as `load` does, whatever is wrong with others.

    A command beside a running proxy needs this: that proxy goes on with its former configuration while the
    file has one that could not be loaded again.

    Args:
        keys: Those of the top level that are read; all others have their defaults.
        paths: As for `load`.
        environ: As for `load`.
        overrides: As for `load`.
        arguments: As for `load`.

    Raises:
        ConfigError: These keys cannot be used, or a file cannot be read.
    """
    problems = _Problems()
    wanted = {key.lower() for key in keys}
    relevant = {
        name: value
        for name, value in environ.items()
        if name[len(PREFIX) :].lower().partition("__")[0] in wanted
    }
    layers = [
        replace(layer, data={key: value for key, value in layer.data.items() if key in keys})
        for layer in _layers(paths, relevant, overrides, {}, arguments, problems)
    ]
    return _validated(_merged(layers), layers, problems)


def check_files(config: Config) -> None:
    """Check that the files that a configuration names are `ALLOWED`; the code that uses them checks the rest.

    Raises:
        ConfigError: Some are not, or cannot be opened; names the keys and the files.
    """
    problems = []
    for key, named in files(config):
        try:
            check_file(named)
        except OSError as error:
            problems.append(f"{dotted(key)}: {error.strerror}: {named}; allowed: {ALLOWED}")
    if problems:
        raise ConfigError(problems)


def _layers(
    paths: Sequence[Path],
    environ: Mapping[str, str],
    overrides: Mapping[str, object],
    defaults: Mapping[str, object],
    arguments: Mapping[str, str],
    problems: _Problems,
) -> list[_Layer]:
    """Read every source; a later one wins."""
    return [
        _given_layer("default", defaults, lambda _: ""),
        *(_file_layer(each, problems) for each in paths),
        _environment_layer(environ, problems),
        _given_layer("flag", overrides, partial(_argument, arguments)),
    ]


def _merged(layers: Sequence[_Layer]) -> dict[str, object]:
    merged: dict[str, object] = {}
    for layer in layers:
        _merge(merged, layer.data)
    return merged


def _validated(merged: dict[str, object], layers: Sequence[_Layer], problems: _Problems) -> Config:
    """Return the configuration.

    Raises:
        ConfigError: It cannot be used; carries every problem that was found, those of before too.
    """
    config = None
    try:
        config = Config.model_validate(merged, by_alias=True, by_name=False)
    except ValidationError as error:
        for problem in problems_of(error.errors(include_url=False)):
            problems.add(_where(layers, problem.path), problem)
    problems.stop()
    assert config is not None  # a configuration without a problem is one
    return config


def _file_layer(path: Path, problems: _Problems) -> _Layer:
    shown = str(path)
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
        if len(raw) > _MOST_BYTES:
            problems.lines.append(f"{shown}: the file is too large; allowed: {_MOST_BYTES >> 20} MiB")
            return _Layer("file", {}, lambda _: shown)
        document = parse_yaml(raw)
    except OSError as error:
        problems.lines.append(f"{shown}: the file cannot be read: {os.strerror(error.errno or 0)}")
        return _Layer("file", {}, lambda _: shown)
    except YamlProblem as error:
        problems.lines.append(f"{shown}:{error.line}:{error.column}: {error.what}")
        return _Layer("file", {}, lambda _: shown)
    above: tuple[str, ...] = ()
    data: object = {} if document.data is None else document.data
    if isinstance(data, dict) and "hopsworks" in data:
        data, above = _hopsworks(data, shown, problems), _HOPSWORKS[:-1]
    if not isinstance(data, dict):
        problems.lines.append(f"{shown}:1: the file must be a block of keys")
        data = {}
    _drop_empty_blocks(data)
    return _Layer("file", data, lambda key: f"{shown}:{document.line_of((*above, *key))}")


def _hopsworks(data: dict[str, object], shown: str, problems: _Problems) -> dict[str, object]:
    """Take the five keys out of a values file of the Hopsworks chart."""
    for key in (field.alias for field in Config.model_fields.values()):
        if key in data and key not in _ANYBODYS:  # a mixed file: our own keys in it would be ignored silently
            text = "put Bascule's own keys into a second file; this one is a Hopsworks values file"
            problems.add(shown, Mistake((key,), text))
    inner: object = data
    for depth, step in enumerate(_HOPSWORKS):
        if not isinstance(inner, dict):
            return {}
        misspelt = _misspelling(step, inner)
        if misspelt is not None:
            # Other programs' keys are not ours to check, but a misspelt one of ours would be lost silently.
            problems.add(
                shown, Mistake((*_HOPSWORKS[:depth], misspelt), f'unknown key; did you mean "{step}"?')
            )
        inner = inner.get(step)
    return {} if inner is None else {"websocketProxy": inner}


def _misspelling(key: str, block: dict[str, object]) -> str | None:
    """Return a key of a block that was probably meant as ``key``.

    It is nearly the same; or, if the block has ``key`` as well, it differs only in capitals, hyphens and
    underscores.
    """
    others = {folded(str(each)): str(each) for each in block if each != key}
    return nearest(folded(key), others, 1.0 if key in block else _MISSPELT)


def _drop_empty_blocks(data: dict[str, object]) -> None:
    """Read ``limits:`` with nothing below it as a block without keys, as people mean it."""
    for path, _, _ in blocks(Config):
        inner: object = data
        for step in path[:-1]:
            inner = inner.get(step) if isinstance(inner, dict) else None
        if isinstance(inner, dict) and path[-1] in inner and inner[path[-1]] is None:
            del inner[path[-1]]


def _environment_layer(environ: Mapping[str, str], problems: _Problems) -> _Layer:
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
            _put(data, path, _from_text(path, environ[variable]))
        except YamlProblem as error:
            problems.add(variable, Mistake(path, f"not YAML, at character {error.column}: {error.what}"))
    return _Layer("environment", data, lambda key: _variable_of(variables, key))


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


def _given_layer(
    source: str, values: Mapping[str, object], where: Callable[[tuple[str | int, ...]], str]
) -> _Layer:
    data: dict[str, object] = {}
    for key, value in values.items():
        _put(data, tuple(key.split(".")), value)
    return _Layer(source, data, where)


def _argument(arguments: Mapping[str, str], path: tuple[str | int, ...]) -> str:
    """Return what the user wrote to set a key, or a key above it."""
    known = (arguments.get(dotted(path[:length])) for length in range(len(path), 0, -1))
    return next((name for name in known if name is not None), "command line")


def _put(data: dict[str, object], path: KeyPath, value: object) -> None:
    for step in path[:-1]:
        inner = data.setdefault(step, {})
        assert isinstance(inner, dict)  # paths are those of leaves: no leaf lies above another
        data = inner
    data[path[-1]] = value


def _merge(into: dict[str, object], data: Mapping[str, object], model: type[Block] = Config) -> None:
    """Lay a source over those before it: blocks key by key, everything else as a whole."""
    inner_blocks = {path[0]: block for path, block, _ in blocks(model) if len(path) == 1}
    for key, value in data.items():
        present = into.get(key)
        if key in inner_blocks and isinstance(value, dict) and isinstance(present, dict):
            _merge(present, value, inner_blocks[key])
        elif key in inner_blocks and isinstance(value, dict):
            fresh: dict[str, object] = {}
            _merge(fresh, value, inner_blocks[key])
            into[key] = fresh
        else:
            into[key] = value


def _holds(layer: _Layer, path: tuple[str | int, ...]) -> bool:
    inner: Any = layer.data
    for step in path:
        try:
            inner = inner[step]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def _replaced(layers: Sequence[_Layer]) -> tuple[str, ...]:
    """Return the places of routes other than the command line's."""
    return tuple(
        layer.where(("routes",)) for layer in layers if layer.source != "flag" and layer.data.get("routes")
    )


def _source(layers: Sequence[_Layer], path: KeyPath) -> str:
    return next((layer.source for layer in reversed(layers) if _holds(layer, path)), "default")


def _where(layers: Sequence[_Layer], path: tuple[str | int, ...]) -> str:
    """Return where a key was set, or else the nearest key above it; empty if none was."""
    # The lists of several layers are not merged: the last one replaces the others.
    items = next((place for place, step in enumerate(path) if isinstance(step, int)), len(path))
    if items < len(path):
        layers = [layer for layer in layers if _holds(layer, path[:items])][-1:] or layers
    for length in range(len(path), 0, -1):
        for layer in reversed(layers):
            if _holds(layer, path[:length]):
                return layer.where(path)
    return ""


def _variable_of(variables: Mapping[KeyPath, str], key: tuple[str | int, ...]) -> str:
    return next((name for path, name in variables.items() if key[: len(path)] == path), "environment")


def _hostname(_: tuple[str | int, ...]) -> str:
    return "HOSTNAME"
