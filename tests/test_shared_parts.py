"""What several tests share is in tests/support, or beside them in a module without tests."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tests.support.parts import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def imported(path: Path) -> Iterator[str]:
    """Yield the modules that a module imports, with ``from`` or without."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom):
            yield str(node.module)
            yield from (f"{node.module}.{each.name}" for each in node.names)
        elif isinstance(node, ast.Import):
            yield from (each.name for each in node.names)


def test_no_module_takes_anything_from_a_test_module() -> None:
    tests = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / "tests").rglob("test_*.py")
    }
    taken = [
        f"{path.relative_to(ROOT)}: {name}"
        for folder in ("tests", "scripts", "bench", "fuzz")
        for path in (ROOT / folder).rglob("*.py")
        for name in imported(path)
        if name in tests
    ]
    assert tests
    assert taken == []
