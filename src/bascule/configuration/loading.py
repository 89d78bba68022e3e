"""The one loader: defaults < files < environment < flags.

One run reports every problem of a configuration, each with its place.

Rules of this file: only the command line, and the supervisor for a reload, load a configuration, and they
pass the result on; no other code takes configuration from files or the environment. The files that
``…File`` keys and ``tls`` name are not read here, but by the code that needs them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from bascule.configuration.config import Config
from bascule.configuration.configfile import file_layer
from bascule.configuration.consistency import doubts
from bascule.configuration.environment import PREFIX, environment_layer
from bascule.configuration.layers import Layer, given_layer, merge, place_of, source_of
from bascule.configuration.loginkey import short_key
from bascule.configuration.model import files, leaves
from bascule.configuration.namedfile import ALLOWED, check_file
from bascule.configuration.problems import Problems, dotted, problems_of
from bascule.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

__all__ = ["Loaded", "check_files", "load", "load_some", "placed", "unwritten"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and where each of its values came from.

    Attributes:
        config: The configuration.
        sources: Dotted key path of every leaf → ``default``, ``file``, ``environment`` or ``flag``. The
            routes are one leaf; a key that a route leaves out has an entry: ``routes[0].auth`` → ``default``.
        files: The files it was read from.
        replaced: Where routes stand that the command line replaces, such as ``bascule.yaml:7``.
        places: Dotted key path of every leaf that a source sets → where: ``bascule.yaml:7``, ``--listen``.
    """

    config: Config
    sources: Mapping[str, str]
    files: tuple[Path, ...] = ()
    replaced: tuple[str, ...] = ()
    places: Mapping[str, str] = field(default_factory=dict)

    def doubts(self, cores: int) -> list[str]:
        """Return a line for what is valid and often a mistake, such as an --upstream that replaces routes.

        Args:
            cores: How many this process may use.
        """
        lines = [*doubts(self.config, cores), *short_key(self.config.auth.session)]
        if self.replaced:
            lines.append(f"--upstream: replaces the routes of {', '.join(self.replaced)}")
        return lines

    def with_routes_of(self, config: Config) -> Loaded:
        """Return the same for another configuration, whose routes a flag has brought."""
        kept = {key: each for key, each in self.sources.items() if not key.startswith("routes[")}
        return Loaded(
            config, {**kept, "routes": "flag", **dict.fromkeys(unwritten(config), "default")}, self.files
        )


def placed(problems: Sequence[str], places: Mapping[str, str]) -> list[str]:
    """Say where the key stands that a problem begins with.

    Args:
        problems: Those that are found only when a configuration is used: an address that somebody else
            has, a file that is no certificate.
        places: See `Loaded`.
    """
    found = (places.get(problem.partition(": ")[0]) for problem in problems)
    return [
        problem if place is None else f"{place}: {problem}"
        for place, problem in zip(found, problems, strict=True)
    ]


def unwritten(config: Config) -> Iterator[str]:
    """Yield the dotted key paths that the routes leave out, so that the model's defaults hold."""
    for index, route in enumerate(config.routes):
        for name, each in type(route).model_fields.items():
            if name not in route.model_fields_set:
                yield dotted(("routes", index, each.alias or name))


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
    problems = Problems()
    paths = [path] if isinstance(path, Path) else list(path or ())
    layers = _layers(paths, environ, overrides or {}, defaults or {}, arguments or {}, problems)
    merged = _merged(layers)
    if environ.get("HOSTNAME"):
        capacity = merged.setdefault("capacity", {})
        if isinstance(capacity, dict) and capacity.get("name") is None:
            layers.insert(
                0, Layer("environment", {"capacity": {"name": environ["HOSTNAME"]}}, lambda _: "HOSTNAME")
            )
            capacity["name"] = environ["HOSTNAME"]
    config = _validated(merged, layers, problems)
    sources = {dotted(key): source_of(layers, key) for key, _ in leaves(Config)}
    return Loaded(
        config,
        {**sources, **dict.fromkeys(unwritten(config), "default")},
        tuple(paths),
        _replaced(layers) if sources["routes"] == "flag" else (),
        {key: place_of(layers, tuple(key.split("."))) for key in sources if sources[key] != "default"},
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
        paths: The files; a later one wins key by key.
        environ: As for `load`.
        overrides: As for `load`.
        arguments: As for `load`.

    Raises:
        ConfigError: These keys cannot be used, or a file cannot be read.
    """
    problems = Problems()
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


def _layers(
    paths: Sequence[Path],
    environ: Mapping[str, str],
    overrides: Mapping[str, object],
    defaults: Mapping[str, object],
    arguments: Mapping[str, str],
    problems: Problems,
) -> list[Layer]:
    """Read every source; a later one wins."""
    return [
        given_layer("default", defaults, lambda _: ""),
        *(file_layer(each, problems) for each in paths),
        environment_layer(environ, problems),
        given_layer("flag", overrides, partial(_argument, arguments)),
    ]


def _merged(layers: Sequence[Layer]) -> dict[str, object]:
    merged: dict[str, object] = {}
    for layer in layers:
        merge(merged, layer.data)
    return merged


def _validated(merged: dict[str, object], layers: Sequence[Layer], problems: Problems) -> Config:
    """Return the configuration.

    Raises:
        ConfigError: It cannot be used; carries every problem that was found, those of before too.
    """
    config = None
    try:
        config = Config.model_validate(merged, by_alias=True, by_name=False)
    except ValidationError as error:
        found = [(place_of(layers, each.path), each) for each in problems_of(error.errors(include_url=False))]
        for place, problem in sorted(found, key=lambda each: _line(each[0])):
            problems.add(place, problem)
    problems.stop()
    assert config is not None  # a configuration without a problem is one
    return config


def _line(place: str) -> tuple[bool, str, int]:
    """Return a place so that those of one file are in the order of its lines, and others behind them."""
    file, _, line = place.rpartition(":")
    return (False, file, int(line)) if line.isdecimal() else (True, place, 0)


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


def _replaced(layers: Sequence[Layer]) -> tuple[str, ...]:
    """Return the places of routes other than the command line's."""
    return tuple(
        layer.where(("routes",)) for layer in layers if layer.source != "flag" and layer.data.get("routes")
    )


def _argument(arguments: Mapping[str, str], path: tuple[str | int, ...]) -> str:
    """Return what the user wrote to set a key, or a key above it."""
    known = (arguments.get(dotted(path[:length])) for length in range(len(path), 0, -1))
    return next((name for name in known if name is not None), "command line")
