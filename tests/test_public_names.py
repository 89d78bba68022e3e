"""Each module says first what it has for others, in ``__all__``; a name that begins with ``_`` is its own."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import bascule

if TYPE_CHECKING:
    from types import ModuleType

PACKAGE = Path(bascule.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if path.name not in ("__init__.py", "__main__.py", "streamlit_app.py")  # the last is Streamlit's to run
)


def defined(module: ModuleType) -> set[str]:
    """Return the public names that a module defines, not those that it imports."""
    names: set[str] = set()
    for statement in ast.parse(Path(str(module.__file__)).read_bytes()).body:
        match statement:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case ast.Assign(targets=targets):
                names |= {
                    name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)
                }
            case _:
                pass
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_lists_all_that_it_defines_for_others_and_nothing_that_it_lacks(name: str) -> None:
    module = import_module(name)
    public: list[str] = getattr(module, "__all__", [])
    assert defined(module) <= set(public)
    assert [name for name in public if not hasattr(module, name)] == []
