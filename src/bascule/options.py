"""Options that several commands have: `--config FILE`, as `BASCULE_CONFIG` says too, and `--admin ADDRESS`.

Rules of this file: the loader reads the files and reports what is wrong with them, in its own words.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from bascule.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["admin_option", "config_option"]

_VARIABLE: Final = "BASCULE_CONFIG"


def config_option(text: str) -> Callable[[Any], Any]:
    """Return the option, which gives a command its ``files``.

    Args:
        text: Its help.
    """
    return click.option(
        "--config",
        "files",
        type=click.Path(readable=False),
        multiple=True,
        envvar=_VARIABLE,
        metavar="FILE",
        callback=_paths,
        help=text,
    )


def admin_option() -> Callable[[Any], Any]:
    """Return the option, which gives a command its ``admin``; ``None`` where it is not given."""
    return click.option(
        "--admin",
        metavar="ADDRESS",
        help="Address of the admin listener (admin, 127.0.0.1:8081 by default): HOST:PORT or unix:/PATH.",
    )


def _paths(context: click.Context, option: click.Parameter, names: tuple[str, ...]) -> tuple[Path, ...]:
    if "" in names:  # the path "" is the current directory: a shell's variable was empty
        source = context.get_parameter_source(str(option.name))
        where = _VARIABLE if source is ParameterSource.ENVIRONMENT else "--config"
        raise ConfigError([f'{where}: found ""; allowed: the path of a file'])
    return tuple(map(Path, names))
