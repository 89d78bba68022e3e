"""The command line: arguments → configuration → supervisor.

Exit status 0: success. 1: it ran and failed. 2: wrong arguments or an unusable configuration,
with one line for each problem on standard error and nothing else. Never a traceback for either.

Rules of this file: it decides nothing itself. Every option sets a key of the configuration, except
--upstream and --kind, which make a route, and the demo's --jupyter. Commands that ask a running proxy are
in `bascule.operate`. A command imports the serving
code only when it serves, so `check` needs no network code.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from bascule import stdio
from bascule._version import __version__
from bascule.chp import chp
from bascule.configoption import config_option
from bascule.errors import ConfigError
from bascule.operate.commands import close, drain, sessions, status
from bascule.output import Group, lost_if_unwritable, write
from bascule.telemetry.printable import escaped

if TYPE_CHECKING:
    from collections.abc import Callable

    from bascule.policy.loading import Loaded

__all__ = ["check", "cli", "config", "demo", "main", "print_", "schema", "serve"]

_EXIT_CONFIG: Final = 2
_NOTHING_TO_SERVE: Final = (
    "nothing to serve: give --config FILE with routes, or --upstream URL for a single route, "
    "such as: bascule serve --upstream http://127.0.0.1:8888"
)

_CHP: Final = "configurable-http-proxy"
"""A name of the program by which it runs ``bascule chp``."""

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

_LOG_LEVELS: Final = ("debug", "info", "warning", "error")


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags that set keys of the configuration."""
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
            click.option(
                "--admin",
                metavar="ADDRESS",
                help="Address of the admin listener (admin): HOST:PORT or unix:/PATH.",
            ),
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
                type=click.Choice(_LOG_LEVELS),
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


def _version_option(*names: str) -> Callable[[Any], Any]:
    return click.option(
        *names,
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=lambda context, _, wanted: _version(context) if wanted else None,
        help="Print the version and which hot path is in use.",
    )


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@_version_option("--version")
def cli() -> None:
    """A WebSocket-aware reverse proxy for notebooks, terminals and data apps.

    Every key of the configuration can also be set in the environment: BASCULE_LISTEN,
    BASCULE_WEBSOCKETPROXY__MAXSESSIONSPERAPP. Flags win over the environment, which wins
    over files.
    """


@cli.command()
@_options
def serve(files: tuple[Path, ...], **flags: Any) -> None:
    """Run the proxy until it is told to stop.

    \b
    bascule serve --config bascule.yaml
    bascule serve --upstream http://127.0.0.1:8888 --kind jupyter

    With --upstream and no file, it listens on 127.0.0.1:8080.
    """  # noqa: D301 - a real backspace is click's mark for lines that stay lines
    from bascule.supervisor.main import run

    def load() -> Loaded:
        loaded = _load(files, dict(flags))
        if not loaded.config.routes and not loaded.config.hub.enabled:
            raise ConfigError([_NOTHING_TO_SERVE])
        return loaded

    sys.exit(run(load(), load=load))


@cli.command()
@click.option("--listen", metavar="HOST:PORT", help="Address the demo listens on.")
@click.option("--admin", metavar="HOST:PORT", help="Address of its status page.")
@click.option("--max-sessions", type=int, metavar="N", help="Session cap.")
@click.option("--log-level", type=click.Choice(_LOG_LEVELS), help="Lowest level that is logged.")
@click.option("--jupyter", is_flag=True, help="Put a real JupyterLab and Streamlit behind it.")
def demo(jupyter: bool, **flags: Any) -> None:
    """Run the proxy with a built-in upstream and the status page.

    Nothing else is needed, except for --jupyter: JupyterLab and Streamlit, as `make demo-jupyter`
    installs them.
    """
    from bascule.policy.loading import load

    loaded = load((), os.environ, _overrides(flags), arguments=_ARGUMENTS)
    from bascule.demo.main import run
    from bascule.demo.tools import Tools

    try:
        sys.exit(run(loaded, Tools.find() if jupyter else None))
    except TimeoutError as error:  # a tool that does not start
        raise ConfigError([str(error)]) from error


@cli.command()
@_options
def check(files: tuple[Path, ...], **flags: Any) -> None:
    """Check a configuration without starting anything.

    The files it names (certificates, keys, tokens) are not read, and need not exist on the machine
    where it is checked.
    """
    from bascule.policy.model import files as named_by

    loaded = _load(files, flags)
    _tell_of_doubts(loaded)
    routes = len(loaded.config.routes)
    if routes:
        write(f"The configuration is good: {routes} {'route' if routes == 1 else 'routes'}.\n")
    elif loaded.config.hub.enabled:
        write("The configuration is good: JupyterHub adds the routes.\n")
    else:
        write("The configuration is good, but has no routes: serve needs one, or --upstream URL.\n")
    if named := [".".join(key) for key, _ in named_by(loaded.config)]:
        write(f"Not read: the files of {', '.join(named)}.\n")


@cli.group()
def config() -> None:
    """Print the configuration, or its schema."""


@config.command()
def schema() -> None:
    """Print the JSON schema of a configuration file."""
    from bascule.policy.publishedschema import published_schema

    write(json.dumps(published_schema(), indent=2, ensure_ascii=False) + "\n")


@config.command("print")
@_options
def print_(files: tuple[Path, ...], **flags: Any) -> None:
    """Print every value with its source; secrets are masked.

    What is printed is a configuration file.
    """
    from bascule.policy.printing import print_config

    loaded = _load(files, flags)
    write(print_config(loaded.config, loaded.sources))


for asking in (status, sessions, close, drain):
    cli.add_command(asking)
cli.add_command(_version_option("-V", "--version")(chp))  # as configurable-http-proxy has them


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit.

    When the program is called ``configurable-http-proxy``, as by a link of that name, it runs
    ``bascule chp``: some charts know only that name.

    Args:
        arguments: Without the program's name; ``None`` takes those of the process.
    """
    if arguments is None and Path(sys.argv[0]).name == _CHP:
        arguments = ["chp", *sys.argv[1:]]
    try:
        cli.main(arguments, prog_name="bascule", standalone_mode=False)
    except ConfigError as error:
        with lost_if_unwritable():
            for problem in error.problems:
                click.echo(escaped(problem), err=True)  # a value from a file must not begin a second line
        sys.exit(_EXIT_CONFIG)
    except click.ClickException as error:
        with lost_if_unwritable():
            error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)  # what a shell reports for an interrupted program
    except BrokenPipeError:
        stdio.give_up(sys.stdout)
        sys.exit(1)


def _load(files: tuple[Path, ...], flags: dict[str, Any]) -> Loaded:
    from bascule.policy.loading import load

    kind = flags.pop("kind", None)
    upstreams = flags.pop("upstreams", ())
    if len(upstreams) > 1:
        raise ConfigError(["--upstream: may be given once; several routes go in a file, for --config FILE"])
    upstream = upstreams[0] if upstreams else None
    overrides = _overrides(flags)
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


def _tell_of_doubts(loaded: Loaded) -> None:
    """Say what is valid and often a mistake. A proxy that serves says it in its log, in the form of that."""
    from bascule.supervisor import cores

    with lost_if_unwritable():
        for line in loaded.doubts(cores.available()):
            click.echo(escaped(line), err=True)


def _overrides(flags: dict[str, Any]) -> dict[str, object]:
    return {_KEYS[flag]: value for flag, value in flags.items() if value is not None}


def _version(context: click.Context) -> None:
    try:
        from bascule.forwarder.hot import describe
    except ImportError:
        hot_path = "unknown"
    else:
        hot_path = describe()
    write(f"bascule {__version__} ({hot_path} hot path)\n")
    context.exit(0)
