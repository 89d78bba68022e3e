"""Podman for tests: its images below build/parts, and the network of the host it runs on.

Each architecture has a store of its own, because the image that the Containerfile begins with has one name.

Images are built without namespaces of their own (`chroot`) and containers run without a pivot of their root,
so that both work inside another container or a chroot. What is built is the same.
"""

import json
import os
import resource
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, Final

from tests.support.parts import ROOT, find, missing, require

__all__ = ["Podman", "start_podman"]

BASE: Final = "docker.io/library/python:3.13-slim-bookworm"
"""What the Containerfile begins with. Here that name is given to what scripts/install-parts made."""

_PROCESSES: Final = 4096


class Podman:
    """Podman with settings of its own.

    Attributes:
        env: Environment in which a command uses them.
        architecture: Of its images; that of this host if `None`.
    """

    def __init__(self, home: Path, store: Path, architecture: str | None) -> None:
        require("podman")
        self.architecture = architecture
        self.env = {
            "CONTAINERS_CONF": str(home / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(home / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(home / "registries.conf"),
            "BUILDAH_ISOLATION": "chroot",
        }
        volumes = [f"{path}:{path}:ro" for path in _certificates()]
        (home / "pip.conf").write_text(_pip())
        volumes.append(f"{home}/pip.conf:/etc/pip.conf:ro")
        files = min(65536, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        limits = [f"nofile={files}:{files}", f"nproc={_PROCESSES}:{_PROCESSES}"]
        Path(self.env["CONTAINERS_CONF"]).write_text(
            f'[containers]\nnetns = "host"\nvolumes = {json.dumps(volumes)}\n'
            f"default_ulimits = {json.dumps(limits)}\n"
            f'[engine]\nruntime = "{"runc" if find("runc") else "crun"}"\ncgroup_manager = "cgroupfs"\n'
            'events_logger = "file"\nno_pivot_root = true\n'
        )
        Path(self.env["CONTAINERS_STORAGE_CONF"]).write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{store}/images"\nrunroot = "{store}/run"\n'
        )
        Path(self.env["CONTAINERS_REGISTRIES_CONF"]).write_text(
            '[[registry]]\nlocation = "registry.example"\ninsecure = true\n'
        )

    def run(self, *words: str) -> str:
        """Run podman; returns what it prints."""
        done = subprocess.run(
            [require("podman"), *words],
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"podman {' '.join(words)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def inspect(self, image: str) -> dict[str, Any]:
        """Return what is known of an image."""
        found: list[dict[str, Any]] = json.loads(self.run("image", "inspect", image))
        return found[0]


def start_podman(home: Path, architecture: str | None = None) -> Podman:
    """Set podman up, with the image that the Containerfile begins with.

    Args:
        home: An existing directory for its settings.
        architecture: Of its images, in the words of Debian and podman; that of this host if not given.
    """
    suffix = f"-{architecture}" if architecture else ""
    base = ROOT / f"build/parts/base-image{suffix}.tar"
    if not base.exists():
        missing(f"the base image is not there: scripts/install-parts {architecture or 'podman'}")
    if architecture and not _runs(architecture):
        missing(f"no program for {architecture} runs here: scripts/install-parts {architecture}")
    store = base.parent.resolve() / f"containers{suffix}"
    podman = Podman(home, store, architecture)
    mark = f"bascule.base={base.stat().st_mtime_ns}"
    wanted = (f"reference={BASE}", f"label={mark}")
    if not podman.run("images", "--quiet", *(f"--filter={one}" for one in wanted)).strip():
        flags = ["--arch", architecture] if architecture else []
        podman.run("import", *flags, "--change", f"LABEL {mark}", str(base), BASE)
    return podman


def _runs(architecture: str) -> bool:
    done = subprocess.run([require("arch-test"), architecture], capture_output=True, check=False)
    return done.returncode == 0


@cache
def _pip_settings() -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    lines = (line.partition("=") for line in done.stdout.splitlines())
    return {key.rpartition(".")[2]: value.strip("'\"") for key, _, value in lines}


def _certificates() -> list[str]:
    found = _pip_settings().get("cert")
    return [found] if found else []


def _pip() -> str:
    """How pip reaches an index is this host's business, not the image's."""
    names = ("index-url", "trusted-host", "cert", "timeout")
    lines = [f"{name} = {_pip_settings()[name]}" for name in names if name in _pip_settings()]
    return "\n".join(["[global]", *lines, ""])
