"""A command as the first process of a container: process 1 of a namespace, which takes root on many hosts.

The kernel drops each signal to it that it has no handler for, and gives it all orphans.
"""

import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.support.parts import missing
from tests.support.processes import Service
from tests.support.waiting import eventually

__all__ = ["FirstProcess"]

_UNSHARE: Final = ("--pid", "--fork", "--kill-child", "--mount-proc")


class FirstProcess(Service):
    """``python -m bascule`` as process 1.

    Args:
        log: File with all it writes.
        arguments: Of the command.
    """

    def __init__(self, log: Path, *arguments: str) -> None:
        unshare = ["unshare", *_UNSHARE]
        tried = subprocess.run([*unshare, "true"], capture_output=True, text=True, check=False)
        if tried.returncode != 0:
            missing(f"no process namespaces here: {tried.stderr.strip()}")
        super().__init__("bascule", [*unshare, sys.executable, "-m", "bascule", *arguments], log)

    @property
    def pid(self) -> int:
        """Its process id, outside of its namespace."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(eventually(children.read_text, 10, "it has begun"))
