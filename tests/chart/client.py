"""Helm and kubectl in front of one API server, and nothing that it says is passed over.

A warning of an API server is a defect of the chart that no schema shows: a field that does not exist, a
selector that selects nothing, a pod that the next version of the cluster refuses. So each one is an error.
"""

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chart.rendering import CHART, Manifest
from tests.support import yamlfast

__all__ = ["RELEASE", "Client", "Finding"]

RELEASE = "ws"

_UPGRADE = ("upgrade", "--install", RELEASE, str(CHART), "--values=-")

_WARNING = re.compile(r"\bWarning: .*")
"""As client-go logs it (Helm) and as kubectl prints it."""


class Finding(AssertionError):
    """Something that the chart does to an API server and should not, or an API server to the chart."""


@dataclass(frozen=True)
class Client:
    """One Helm and one kubectl in a namespace.

    Attributes:
        helm: The Helm binary.
        kubectl: The kubectl binary.
        kubeconfig: Where the API server is and who we are.
        namespace: What every command is about.
    """

    helm: Path
    kubectl: Path
    kubeconfig: Path
    namespace: str

    def upgrade(self, values: dict[str, Any], *options: str) -> None:
        """Install the release, or upgrade it."""
        self.call(self.helm, *_UPGRADE, *options, stdin=yamlfast.dump(values))

    def try_upgrade(self, values: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        """Upgrade the release, whatever comes of it."""
        return self.run(self.helm, *_UPGRADE, stdin=yamlfast.dump(values))

    def applies_on_the_server(self) -> bool:
        """Tell whether this Helm leaves merging to the server, as Helm 4 does."""
        return "--server-side" in self.call(self.helm, "rollback", "--help")

    def rendered(self, values: dict[str, Any]) -> list[Manifest]:
        """Return what the release would be made of, without asking the server anything."""
        text = self.call(
            self.helm, "template", RELEASE, str(CHART), "--values=-", stdin=yamlfast.dump(values)
        )
        return yamlfast.load_all(text)

    def given(self) -> list[Manifest]:
        """Return what the release's present revision is made of."""
        return yamlfast.load_all(self.call(self.helm, "get", "manifest", RELEASE))

    def live(self, manifests: list[Manifest]) -> list[Manifest]:
        """Return objects as the server has them; those that it has not are left out."""
        text = self.call(
            self.kubectl,
            *("get", "--filename=-", "--output=json", "--ignore-not-found", "--show-managed-fields"),
            stdin=yamlfast.dump_all(manifests),
        )
        found: Manifest = json.loads(text) if text else {"items": []}
        # One object is no list.
        return list(found["items"]) if "items" in found else [found]

    def call(self, binary: Path, *arguments: str, stdin: str | None = None) -> str:
        """Run a command and return what it printed.

        Raises:
            Finding: It failed, or the server warned.
        """
        done = self.run(binary, *arguments, stdin=stdin)
        if done.returncode != 0:
            raise Finding(f"{binary.name} {' '.join(arguments[:2])}: {done.stderr.strip()}")
        if warnings := _WARNING.findall(done.stderr):
            raise Finding(f"{binary.name} {' '.join(arguments[:2])}: {'; '.join(sorted(set(warnings)))}")
        return done.stdout

    def run(
        self, binary: Path, *arguments: str, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command, whatever comes of it."""
        return subprocess.run(
            [binary, *arguments, f"--namespace={self.namespace}"],
            input=stdin or "",
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
        )
