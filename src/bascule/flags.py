"""The flags that set keys of the configuration, and what is loaded with them.

Rules of this file: every flag sets one key, except --upstream and --kind, which make a route. A problem with
such a key names the flag.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Final

import click

from bascule.errors import ConfigError
from bascule.options import admin_option, config_option

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bascule.configuration.loading import Loaded

__all__ = ["LOG_LEVELS", "configuration_flags", "load_configuration", "with_flag"]

LOG_LEVELS: Final = ("debug", "info", "warning", "error")

_LOCAL: Final = {"listen": "127.0.0.1:8080"}
"""Defaults of ``serve --upstream`` without a file."""

_KEYS: Final = {
    "listen": "listen",
    "admin": "admin",
    "max_sessions": "websocketProxy.maxSessionsPerApp",
    "forwarders": "forwarders.count",
    "log_level": "log.level",
    "log_format": "log.format",
}
"""Flag → the key it sets."""

_ARGUMENTS: Final = {key: f"--{flag.replace('_', '-')}" for flag, key in _KEYS.items()}
"""Key → the flag, as a problem names it."""

_ADDRESS: Final = re.compile(
    r"(?:(https?|wss?)://)?([A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?)(?:[/?#].*)?", re.DOTALL
)
"""The address of a server, of a page there, or of a WebSocket, with or without its scheme."""

_PORT: Final = re.compile(r":?([0-9]{1,5})")


def configuration_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags to a command, which gets them as `load_configuration` takes them."""
    for option in reversed(
        (
            config_option(
                "Configuration file, or a Hopsworks values file. If repeated, later files win key by key."
            ),
            click.option(
                "--upstream",
                "upstreams",
                multiple=True,  # otherwise click would take the last of several and say nothing
                metavar="URL",
                help="Serve a single route, /, that leads to this upstream.",
            ),
            click.option(
                "--kind",
                metavar="KIND",
                help="Kind of that upstream: jupyter, terminal or app (the default).",
            ),
            click.option(
                "--listen",
                metavar="ADDRESS",
                help="Address that browsers connect to (listen): HOST:PORT or unix:/PATH.",
            ),
            admin_option(),
            click.option(
                "--max-sessions",
                type=int,
                metavar="N",
                help="Session cap (websocketProxy.maxSessionsPerApp).",
            ),
            click.option(
                "--forwarders",
                type=int,
                metavar="N",
                help="Number of forwarder processes (forwarders.count).",
            ),
            click.option(
                "--log-level",
                type=click.Choice(LOG_LEVELS),
                help="Lowest level that is logged (log.level).",
            ),
            click.option(
                "--log-format",
                type=click.Choice(("json", "console", "auto")),
                help="Format of the log (log.format).",
            ),
        )
    ):
        command = option(command)
    return command


def load_configuration(files: tuple[Path, ...], flags: dict[str, Any]) -> Loaded:
    """Load the configuration with what a command was given.

    Args:
        files: The files.
        flags: The value of each flag, by the name of its argument; ``None`` where it was not given.

    Raises:
        ConfigError: It cannot be used.
    """
    from bascule.configuration.loading import load

    kind = flags.get("kind")
    upstreams = flags.get("upstreams", ())
    if len(upstreams) > 1:
        raise ConfigError(["--upstream: may be given once; several routes go in a file, for --config FILE"])
    upstream = upstreams[0] if upstreams else None
    overrides: dict[str, object] = {
        key: flags[flag] for flag, key in _KEYS.items() if flags.get(flag) is not None
    }
    if upstream is not None:
        overrides["routes"] = [{"name": "default", "kind": kind or "app", "path": "/", "upstream": upstream}]
    elif kind is not None:
        raise ConfigError(["--kind: needs --upstream; in a file each route has its kind"])
    # Without a file we run on the user's own machine, where an open proxy to a notebook is an open shell.
    defaults = _LOCAL if upstream is not None and not files else {}
    try:
        return load(files, os.environ, overrides, defaults, _ARGUMENTS)
    except ConfigError as error:
        raise ConfigError([_of_flag(problem, upstream) for problem in error.problems]) from error


def with_flag(problem: str) -> str:
    """Say which flag names another address, where a default one is taken: such a problem names no place."""
    flag = _ARGUMENTS.get(problem.partition(": cannot listen on ")[0])
    return problem if flag is None else f"{problem}; {flag} chooses another address"


def _of_flag(problem: str, upstream: str | None) -> str:
    """Name the flag in a problem that names a key of the route made from --upstream."""
    for flag in ("upstream", "kind"):
        key = f"command line: routes[0].{flag}: "
        if problem.startswith(key):
            meant = _meant(upstream) if flag == "upstream" and upstream is not None else None
            hint = f"; did you mean {meant}?" if meant is not None else ""
            return f"--{flag}: {problem.removeprefix(key)}{hint}"
    return problem


def _meant(upstream: str) -> str | None:
    """Return the server that an --upstream which is none probably means, such as the one of a page's address.

    People leave out ``http://``, name only the port, or paste what Jupyter prints: ``http://…/lab?token=…``.
    """
    if port := _PORT.fullmatch(upstream):
        return f"http://127.0.0.1:{port[1]}" if 0 < int(port[1]) < 65536 else None
    found = _ADDRESS.fullmatch(upstream)
    if found is None:
        return None
    server = f"{'https' if found[1] in {'https', 'wss'} else 'http'}://{found[2]}"
    return server if server != upstream else None
