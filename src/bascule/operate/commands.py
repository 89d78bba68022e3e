"""`bascule status`, `sessions`, `close` and `drain`: an operator's questions and orders, at a shell.

Rules of this file: the admin API decides everything; a command asks, and prints. The proxy is found by its
configuration, with the same option, environment and defaults as `serve`, so that in a pod or on a host one
word is enough.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import click

from bascule.operate.overviewtext import overview_text
from bascule.operate.sessionstext import COUNTED, ORDERS, counts_text, sessions_text
from bascule.options import admin_option, config_option
from bascule.output import Command, lost_if_unwritable, write
from bascule.telemetry.printable import escaped
from bascule.vocabulary import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from bascule.operate.adminclient import AdminClient

__all__ = ["close", "drain", "sessions", "status"]

_KEYS: Final = ("admin", "adminToken", "adminTokenFile", "adminTls")
"""What says where a proxy can be asked, and who may."""

_PAGE: Final = "1000"
"""Sessions that are asked for at once: the most that the API gives."""


def _seconds(context: click.Context, option: click.Parameter, text: str | None) -> float | None:
    """Read a time as the configuration has it: seconds, or ``90s``, ``5m``, ``1h``."""
    from pydantic import TypeAdapter, ValidationError

    from bascule.configuration.durations import Duration

    if text is None:
        return None
    try:
        value: float | str = float(text)
    except ValueError:
        value = text
    try:
        return TypeAdapter[float](Duration).validate_python(value)
    except ValidationError as error:
        raise click.BadParameter(f"found {text}; allowed: {error.errors()[0]['msg']}") from error


def _proxy_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which proxy is asked."""
    configured = config_option("Configuration file of the proxy that is asked.")
    asking: Callable[..., Any] = configured(admin_option()(command))
    return asking


_FILTERS: Final = (
    click.option("--route", metavar="NAME", help="Only this route."),
    click.option("--kind", type=click.Choice([kind.value for kind in Kind]), help="Only this kind."),
    click.option("--user", metavar="NAME", help="Only this user."),
    click.option(
        "--min-age",
        "minAge",
        callback=_seconds,
        metavar="TIME",
        help="Open for at least so long: 90s, 5m, 1h.",
    ),
    click.option(
        "--min-idle",
        "minIdle",
        callback=_seconds,
        metavar="TIME",
        help="Without a data frame for at least so long.",
    ),
)


def _filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which sessions are meant, by the API's names of them."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def _json_option(text: str) -> Callable[[Any], Any]:
    return click.option("--json", "as_json", is_flag=True, help=text)


@click.command(cls=Command)
@_proxy_options
@_json_option("Print the answer of GET /status.")
def status(files: tuple[Path, ...], admin: str | None, as_json: bool) -> None:
    """Show how a running proxy is doing.

    The exit status is 0 if it is ready for more sessions, otherwise 1.
    """
    found = _proxy(files, admin).ask("GET", "/status")
    write(json.dumps(found, indent=2) + "\n" if as_json else overview_text(found))
    sys.exit(0 if found["ready"] else 1)


@click.command(cls=Command)
@_proxy_options
@_filters
@click.option(
    "--sort",
    type=click.Choice([*ORDERS]),
    default="id",
    show_default=True,
    help="Oldest, longest idle or most bytes first; by id: in the order in which they began.",
)
@click.option(
    "--count-by",
    type=click.Choice(COUNTED),
    help="Print how many each has instead, most first.",
)
@click.option("--ids", is_flag=True, help="Print only ids, for `close`.")
@_json_option("Print a line of JSON for each.")
def sessions(
    files: tuple[Path, ...],
    admin: str | None,
    sort: str,
    count_by: str | None,
    ids: bool,
    as_json: bool,
    **filters: Any,
) -> None:
    """List the live sessions of a running proxy."""
    rows = _all_sessions(_proxy(files, admin), filters)
    rows.sort(key=ORDERS[sort])
    if count_by is not None:
        write(counts_text(rows, count_by))
    elif ids:
        write("".join(f"{row['id']}\n" for row in rows))
    elif as_json:
        write("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        write(sessions_text(rows))


@click.command(cls=Command)
@_proxy_options
@_filters
@click.option("--code", metavar="CODE", help="Close code (RFC 6455 §7.4): 1008 by default.")
@click.option("--reason", metavar="TEXT", help="Reason that the browser gets, at most 123 bytes.")
@click.argument("ids", nargs=-1, metavar="[ID]...")
def close(
    files: tuple[Path, ...],
    admin: str | None,
    ids: tuple[str, ...],
    code: str | None,
    reason: str | None,
    **filters: object,
) -> None:
    """Close sessions of a running proxy, by id or by filter.

    \b
    bascule close 1c3 --code 1012 --reason "back in a minute"
    bascule close --user ada --min-age 12h

    All are tried; the exit status is 1 if one could not be closed.
    """  # noqa: D301 - a real backspace is click's mark for lines that stay lines
    said = _given(code=code, reason=reason)
    wanted = _given(**filters)
    if bool(ids) == bool(wanted):
        raise click.UsageError("Name either sessions by their ids, or at least one filter.")
    proxy = _proxy(files, admin)
    if wanted:
        closed = proxy.ask("DELETE", "/sessions", said | wanted)
        write(f"{_sessions(closed['closed'])}: {closed['code']} {closed['reason']}\n")
    else:
        sys.exit(_close_each(proxy, ids, said))


def _close_each(proxy: AdminClient, ids: tuple[str, ...], said: Mapping[str, str]) -> int:
    """Close each, print so, and return the exit status."""
    status = 0
    for each in ids:
        try:
            closed = proxy.ask("DELETE", f"/sessions/{quote(each, safe='')}", said)
        except click.ClickException as error:
            status = 1
            with lost_if_unwritable():
                click.echo(f"{escaped(each)}: {error.message}", err=True)
        else:
            write(f"{closed['id']}: {closed['code']} {closed['reason']}\n")
    return status


@click.command(cls=Command)
@_proxy_options
def drain(files: tuple[Path, ...], admin: str | None) -> None:
    """Drain a running proxy.

    It refuses new sessions and closes the live ones little by little; `bascule status` shows how many
    are left. It cannot be taken back, except by a restart.
    """
    left = _proxy(files, admin).ask("POST", "/drain")["sessions"]
    write(f"Draining; {_sessions(left)} {'is' if left == 1 else 'are'} still open.\n")


def _sessions(number: int) -> str:
    return "1 session" if number == 1 else f"{number} sessions"


def _given(**options: object) -> dict[str, str]:
    """Return the options that were given, for a query."""
    return {name: str(value) for name, value in options.items() if value is not None}


def _all_sessions(proxy: AdminClient, filters: Mapping[str, Any]) -> list[dict[str, Any]]:
    query = _given(**filters, limit=_PAGE)
    rows: list[dict[str, Any]] = []
    while True:
        page = proxy.ask("GET", "/sessions", query)
        rows += page["sessions"]
        if page["next"] is None:
            return rows
        query["cursor"] = page["next"]


def _proxy(files: tuple[Path, ...], admin: str | None) -> AdminClient:
    """Return the admin listener of the proxy that the configuration describes.

    Raises:
        ConfigError: The configuration cannot be used.
        click.ClickException: It does not say where the listener is.
    """
    from bascule.configuration.loading import load_some
    from bascule.operate.adminclient import AdminClient

    said = {} if admin is None else {"admin": admin}
    return AdminClient(load_some(_KEYS, files, os.environ, said, {"admin": "--admin"}))
