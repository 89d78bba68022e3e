"""What commands print, where it may not be possible: a full disk, or a stream that is closed.

Rules of this file: what cannot be printed is one line on standard error and exit status 1; what cannot be
said there is said nowhere.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import click

from bascule import standard

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Command", "Group", "telling", "write"]


def write(text: str) -> None:
    """Write to standard output.

    Raises:
        click.ClickException: It cannot be written.
        BrokenPipeError: Nobody reads it any more.
    """
    with _writing():
        click.echo(text, nl=False)
        sys.stdout.flush()


@contextlib.contextmanager
def telling() -> Iterator[None]:
    """Write to standard error; what cannot be written is lost, and the exit status is left to tell."""
    try:
        yield
    except OSError:
        standard.give_up(sys.stderr)


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        standard.give_up(sys.stdout)
        raise click.ClickException(f"cannot write: {error.strerror}") from error


class Command(click.Command):
    """A command that prints its help, which `click` does as it reads the arguments, as all else."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Read the arguments; raises as `write` does."""
        with _writing():
            return super().make_context(*args, **extra)


class Group(Command, click.Group):
    """A group of such commands."""

    command_class = Command
    group_class = type
