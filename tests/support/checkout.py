"""A copy of the project, so that a command which writes into it can be run as it is typed.

What is installed is shared with the original: the environment, the parts, the caches of checks.
"""

import shutil
import sys
from pathlib import Path
from typing import Final

from tests.support.parts import ROOT

__all__ = ["check_out"]

_NOT_COPIED: Final = (".git", ".venv", "build", "__pycache__", ".*_cache", ".hypothesis", ".ci")
_SHARED: Final = ("build/parts", "build/helm", "build/bench/venv", "build/bench/node", ".mypy_cache")


def check_out(home: Path) -> Path:
    """Copy the project into a directory; returns where it is, ready to be used."""
    copy = home / "project"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*_NOT_COPIED), symlinks=True)
    (copy / ".venv").symlink_to(sys.prefix)
    for name in _SHARED:
        (ROOT / name).mkdir(parents=True, exist_ok=True)
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).symlink_to(ROOT / name)
    for stamp in ("installed", "developed"):  # by which make knows that it is
        (copy / f"build/.{stamp}").touch()
    return copy
