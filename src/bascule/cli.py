"""The command line: arguments → configuration → supervisor.

Exit status 0: success. 1: it ran and failed. 2: wrong arguments or an unusable configuration,
with one line for each problem on standard error and nothing else. Never a traceback for either.

Rules of this file: it decides nothing itself; `bascule.flags` says what the flags mean. Commands that ask a
running proxy are in `bascule.operate`. A command imports the serving code only when it serves, so `check`
needs no network code.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from bascule import stdio
from bascule._version import __version__
from bascule.chp import chp
from bascule.errors import ConfigError
from bascule.flags import LOG_LEVELS, configuration_flags, load_configuration, with_flag
from bascule.operate.commands import close, drain, sessions, status
from bascule.output import Group, lost_if_unwritable, write
from bascule.telemetry.printable import escaped

if TYPE_CHECKING:
    from collections.abc import Callable

    from bascule.configuration.loading import Loaded

__all__ = ["check", "cli", "config", "demo", "main", "print_", "schema", "serve"]

_EXIT_CONFIG: Final = 2
_NOTHING_TO_SERVE: Final = (
    "nothing to serve: give --config FILE with routes, or --upstream URL for a single route, "
    "such as: bascule serve --upstream http://127.0.0.1:8888"
)

_CHP: Final = "configurable-http-proxy"
"""A name of the program by which it runs ``bascule chp``."""


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
@configuration_flags
def serve(files: tuple[Path, ...], **flags: Any) -> None:
    """Run the proxy until it is told to stop.

    \b
    bascule serve --config bascule.yaml
    bascule serve --upstream http://127.0.0.1:8888 --kind jupyter

    With --upstream and no file, it listens on 127.0.0.1:8080.
    """  # noqa: D301 - a real backspace is click's mark for lines that stay lines
    from bascule.supervisor.main import run

    def load() -> Loaded:
        loaded = load_configuration(files, dict(flags))
        if not loaded.config.routes and not loaded.config.hub.enabled:
            raise ConfigError([_NOTHING_TO_SERVE])
        return loaded

    try:
        sys.exit(run(load(), load=load))
    except ConfigError as error:
        raise ConfigError([with_flag(each) for each in error.problems]) from error


@cli.command()
@click.option("--listen", metavar="HOST:PORT", help="Address the demo listens on.")
@click.option("--admin", metavar="HOST:PORT", help="Address of its status page.")
@click.option("--max-sessions", type=int, metavar="N", help="Session cap.")
@click.option("--log-level", type=click.Choice(LOG_LEVELS), help="Lowest level that is logged.")
@click.option("--jupyter", is_flag=True, help="Put a real JupyterLab and Streamlit behind it.")
def demo(jupyter: bool, **flags: Any) -> None:
    """Run the proxy with a built-in upstream and the status page.

    Nothing else is needed. Only --jupyter needs JupyterLab and Streamlit, which `make demo-jupyter`
    installs.
    """
    loaded = load_configuration((), flags)
    from bascule.demo.main import run
    from bascule.demo.tools import Tools

    try:
        sys.exit(run(loaded, Tools.find() if jupyter else None))
    except TimeoutError as error:  # a tool that does not start
        raise ConfigError([str(error)]) from error


@cli.command()
@configuration_flags
def check(files: tuple[Path, ...], **flags: Any) -> None:
    """Check a configuration without starting anything.

    The files it names (certificates, keys, tokens) are not read, and need not exist on the machine
    where it is checked.
    """
    from bascule.configuration.model import files as named_by

    loaded = load_configuration(files, flags)
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
    from bascule.configuration.publishedschema import published_schema

    write(json.dumps(published_schema(), indent=2, ensure_ascii=False) + "\n")


@config.command("print")
@configuration_flags
def print_(files: tuple[Path, ...], **flags: Any) -> None:
    """Print every value with its source; secrets are masked.

    What is printed is a configuration file.
    """
    from bascule.configuration.printing import print_config

    loaded = load_configuration(files, flags)
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


def _tell_of_doubts(loaded: Loaded) -> None:
    """Say what is valid and often a mistake. A proxy that serves says it in its log, in the form of that."""
    from bascule.supervisor import cores

    with lost_if_unwritable():
        for line in loaded.doubts(cores.available()):
            click.echo(escaped(line), err=True)


def _version(context: click.Context) -> None:
    try:
        from bascule.forwarder.hot import describe
    except ImportError:
        hot_path = "unknown"
    else:
        hot_path = describe()
    write(f"bascule {__version__} ({hot_path} hot path)\n")
    context.exit(0)
