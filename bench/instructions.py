"""Instruction counts of the hot path: repeatable where timing is not.

Callgrind counts the instructions executed inside the engine's ``feed`` and ``turn`` (user space, libc's thin
wrappers included) while bench/instruction_workload.py drives them. Each workload runs twice with different
numbers of units; the difference divided by the difference of units is the price of one, free of anything that
happens once.

    python -m bench.instructions             count, and compare with bench/instructions.json
    python -m bench.instructions --accept    count, and write the figures to commit

Figures depend on the processor architecture, the compiler and the version of Python, whose own functions are
counted with the rest, so they are kept by all three. Where none are kept for a compiler and a Python, the
architecture's are what to stay near: a wider tolerance, and still no room for a walk that got slow.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.places import ROOT

COMMITTED = Path(__file__).parent / "instructions.json"
PROGRAM = Path(__file__).parent / "instruction_workload.py"

#: A change within this share passes; counts repeat to within a few in ten thousand.
TOLERANCE = 0.03

#: The same beside figures of another compiler or Python. Measured with GCC 11, 12 and 14, Clang 14 and Python
#: 3.11 to 3.13: at most 22 % above the figures committed.
TOLERANCE_ABROAD = 0.30

#: Workload, and its two numbers of units.
UNITS = {
    "header_walk": (2000, 10000),
    "message": (100, 500),
    "message_crowd": (500, 2500),
    "large_chunk": (20, 100),
}

#: The methods of the engine inside which instructions count.
METHODS = ("feed", "turn")


class CannotCount(Exception):
    """A part is missing, or the extension has no symbols."""


@dataclass(frozen=True)
class Comparison:
    """One workload now and then."""

    workload: str
    counted: float
    committed: float | None
    tolerance: float = TOLERANCE

    @property
    def change(self) -> float:
        """0.05: five per cent more than committed."""
        return self.counted / self.committed - 1 if self.committed else 0.0

    @property
    def fine(self) -> bool:
        """Within the tolerance. Fewer is fine too, but wants a new figure."""
        return self.committed is not None and self.change <= self.tolerance


def place() -> str:
    """What figures may be compared with each other: architecture, compiler and Python."""
    line = subprocess.run(
        ["cc", "-dumpfullversion"], capture_output=True, text=True, check=False
    ).stdout.strip()
    compiler = f"cc{line.split('.')[0] or '?'}"
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return f"{platform.machine()}-{compiler}-{python}"


def missing() -> str | None:
    """Why nothing can be counted here."""
    if not shutil.which("valgrind"):
        return "valgrind is not installed"
    if extension() is None:
        return "the compiled hot path is not built in place"
    return None


def extension() -> Path | None:
    """The compiled hot path, built in place."""
    found = sorted((ROOT / "src/bascule/forwarder").glob("_hot.*.so"))
    return found[0] if found else None


def symbols(binary: Path) -> list[str]:
    """The C functions behind the engine's methods, as the extension's own symbol table names them."""
    pattern = rb"__pyx_pw_\w+_hot_6Engine_\d+(?:%s)\x00" % "|".join(METHODS).encode()
    return sorted({found[:-1].decode() for found in re.findall(pattern, binary.read_bytes())})


def instructions(workload: str, units: int) -> int:
    """Run one workload under callgrind; the instructions inside the engine."""
    binary = extension()
    names = symbols(binary) if binary else []
    if len(names) != len(METHODS):
        raise CannotCount(f"the extension has no symbols for {METHODS}: was it stripped?")
    # -E and -S keep environment and site packages out; the path is given by the program instead.
    program = (
        f"import runpy, sys; sys.path.insert(0, {str(ROOT / 'src')!r});"
        f" sys.argv = ['', {workload!r}, '{units}']; runpy.run_path({str(PROGRAM)!r}, run_name='__main__')"
    )
    environment = {"PATH": os.environ.get("PATH", ""), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        command = [
            "valgrind",
            "--tool=callgrind",
            "--collect-atstart=no",
            f"--callgrind-out-file={folder}/out",
        ]
        command += [f"--toggle-collect={name}" for name in names]
        command += [sys.executable, "-S", "-E", "-c", program]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=120, check=False
        )
    if done.returncode:
        raise CannotCount(f"{workload}: {done.stderr.strip()[-600:]}")
    found = re.search(r"Collected\s*:\s*(\d+)", done.stderr)
    counted = int(found.group(1)) if found else 0
    if not counted:
        raise CannotCount(f"{workload}: nothing was collected")
    return counted


def count(workload: str) -> float:
    """Instructions per unit."""
    few, many = UNITS[workload]
    return round((instructions(workload, many) - instructions(workload, few)) / (many - few), 2)


def committed() -> dict[str, dict[str, float]]:
    """The figures in the repository, by place."""
    if not COMMITTED.exists():
        return {}
    figures: dict[str, dict[str, float]] = json.loads(COMMITTED.read_text())
    return figures


def compare(workload: str) -> Comparison:
    """Count now, look up then: here, else what is dearest on this architecture."""
    figures = committed()
    here = place()
    if here in figures:
        return Comparison(workload, count(workload), figures[here].get(workload))
    alike = [
        those[workload] for where, those in figures.items() if where.startswith(f"{platform.machine()}-")
    ]
    return Comparison(workload, count(workload), max(alike, default=None), TOLERANCE_ABROAD)


def main() -> int:
    """Count everything; compare or accept."""
    reason = missing()
    if reason:
        print(reason, file=sys.stderr)
        return 2
    found = [compare(workload) for workload in UNITS]
    for one in found:
        then = (
            "nothing committed"
            if one.committed is None
            else f"committed {one.committed:g} ({one.change:+.1%})"
        )
        print(f"{one.workload:14} {one.counted:10g} instructions, {then}")
    if "--accept" in sys.argv:
        figures = {**committed(), place(): {one.workload: one.counted for one in found}}
        COMMITTED.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")
        return 0
    return 0 if all(one.fine for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
