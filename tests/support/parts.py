"""Find the real parts that tests talk to, or say why they cannot run.

A part that is missing skips the test that asked for it, with the command that installs
it. Under ``CI=true`` it fails instead: a skipped real part is not a pass.
"""

import os
import shutil
from pathlib import Path
from typing import Final, NoReturn

import pytest

__all__ = ["ROOT", "find", "missing", "require"]

ROOT: Final = Path(__file__).resolve().parents[2]

_INSTALLED_HERE: Final[dict[str, tuple[str, ...]]] = {
    "jupyter": ("build/parts/jupyter/bin/jupyter",),
    "jupyterhub": ("build/parts/jupyterhub/bin/jupyterhub",),
    "streamlit": ("build/parts/streamlit/bin/streamlit",),
    "traefik": ("build/parts/traefik/bin/traefik", "build/bench/venv/bin/traefik"),
    "helm": ("build/helm/v4/helm",),
    "kubectl": ("build/helm/v4/kubectl",),
}
"""Parts that are not Debian packages, relative to the project's root. Looked for before ``PATH``."""

_OFF_PATH: Final = ("/usr/sbin", "/usr/local/sbin", "/sbin")
"""Where Debian keeps servers. Not in the ``PATH`` of an ordinary user."""


def find(name: str) -> Path | None:
    """Return the path of a part's command, or ``None`` where it is not installed.

    Args:
        name: A command, such as ``nginx``, ``chromium``, ``promtool``, ``jupyter`` or ``helm``.
    """
    for place in _INSTALLED_HERE.get(name, ()):
        if os.access(ROOT / place, os.X_OK):
            return ROOT / place
    search = os.pathsep.join((os.environ.get("PATH", os.defpath), *_OFF_PATH))
    found = shutil.which(name, path=search)
    return Path(found) if found else None


def missing(reason: str) -> NoReturn:
    """End the test that needs something this host does not have: skipped here, failed in CI."""
    if os.environ.get("CI", "").lower() in {"1", "true", "yes"}:
        pytest.fail(f"{reason} (CI=true: a real part may not be missing)", pytrace=False)
    pytest.skip(reason)


def require(name: str) -> Path:
    """Return the path of a part's command.

    Args:
        name: As for `find`.

    Returns:
        The command. Does not return where the part is missing: see `missing`.
    """
    found = find(name)
    if found is None:
        missing(f"{name} is not installed: scripts/install-parts")
    return found
