"""A command line, run in this process."""

from __future__ import annotations

import pytest

from bascule import cli

Capture = pytest.CaptureFixture[str]


def run(*arguments: str) -> int:
    """Return the exit status of a command line."""
    try:
        cli.main(list(arguments))
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0  # what the interpreter makes of a main that returns


def refused(capsys: Capture, *arguments: str) -> list[str]:
    """Run a command that must exit with 2 and print nothing but its problems."""
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()
