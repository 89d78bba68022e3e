"""How commands print, though the disk may be full or the stream closed.

Rules of this file: when standard output cannot be written, the command exits with status 1. It says why in
one line on standard error, except when the reader has left (a broken pipe). Text that standard error cannot
take is lost.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import click

from bascule import stdio

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Command", "Group", "lost_if_unwritable", "write"]


def write(text: str) -> None:
    """Write to standard output.

    Raises:
        click.ClickException: It cannot be written.
        BrokenPipeError: The reader of standard output has left.
    """
    with _writing():
        click.echo(text, nl=False)
        sys.stdout.flush()


@contextlib.contextmanager
def lost_if_unwritable() -> Iterator[None]:
    """Enclose writes to standard error: text that cannot be written is lost, and nothing is raised."""
    try:
        yield
    except OSError:
        stdio.give_up(sys.stderr)


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        stdio.give_up(sys.stdout)
        raise click.ClickException(f"cannot write: {error.strerror}") from error


class Command(click.Command):
    """A command whose help is written as by `write`; `click` prints help while it reads the arguments."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Read the arguments; raises as `write` does."""
        with _writing():
            return super().make_context(*args, **extra)


class Group(Command, click.Group):
    """A group of such commands."""

    command_class = Command
    group_class = type
