"""Every dependency has its reason, no reason outlives its dependency, and what is private of one is named."""

import ast
import importlib
import inspect
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

from tests.support.parts import ROOT

ELSEWHERE = {"atheris": "Makefile", "wheel": "scripts/lock"}
"""What no list of pyproject.toml has, and where it stands."""


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> set[str]:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    requirements = [
        *document["build-system"]["requires"],
        *document["project"]["dependencies"],
        *(one for group in document["dependency-groups"].values() for one in group),
    ]
    names = (re.match(r"[A-Za-z0-9._-]+", requirement) for requirement in requirements)
    return {normalised(found[0]) for found in names if found}


def explained() -> set[str]:
    page = (ROOT / "docs/decisions/0002-dependencies.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| ([^|]+) \|", page, re.MULTILINE)
    names = (
        re.match(r"[A-Za-z0-9._-]+", part) for cell in cells for part in cell.partition(" (")[0].split(", ")
    )
    return {normalised(found[0]) for found in names if found} - {"library", "tool"}


def test_every_dependency_has_a_reason_and_every_reason_a_dependency() -> None:
    assert explained() == declared() | ELSEWHERE.keys()


def test_what_stands_elsewhere_does() -> None:
    for name, file in ELSEWHERE.items():
        assert re.search(rf"['\"]{name}\b", (ROOT / file).read_text(encoding="utf-8")), file


def imported() -> set[str]:
    """Return the distributions that our code imports from, by their top-level modules."""
    modules = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules.add(node.module.partition(".")[0])
    owners = packages_distributions()
    ours = sys.stdlib_module_names | {"bascule", "streamlit"}  # streamlit runs the demo's app, if it is there
    return {normalised(name) for module in modules - ours for name in owners[module]}


def test_what_is_imported_is_asked_for_and_not_only_brought_along() -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    asked = {normalised(re.split(r"[^A-Za-z0-9._-]", one)[0]) for one in document["project"]["dependencies"]}
    assert imported() == asked


def private_of_aiohttp(path: Path) -> Iterator[str]:
    """Yield what is private of aiohttp and used: of other objects, and of the bases of our classes."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    module = importlib.import_module(".".join(path.relative_to(ROOT / "src").with_suffix("").parts))
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=whose), attr=name) if whose not in ("self", "cls"):
                if re.fullmatch(r"_[a-z]\w*", name):
                    yield name
    for definition in tree.body:
        if isinstance(definition, ast.ClassDef):
            bases = inspect.getmro(getattr(module, definition.name))
            theirs = "".join(
                inspect.getsource(base) for base in bases if base.__module__.startswith("aiohttp")
            )
            known = set(re.findall(r"(?:self\.|def )(_[a-z]\w*)", theirs))
            for node in ast.walk(definition):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in known:
                    yield node.name
                elif isinstance(node, ast.Attribute) and node.attr in known:
                    yield node.attr


def test_all_that_is_private_of_aiohttp_is_named_where_a_new_release_is_reviewed() -> None:
    page = (ROOT / "docs/decisions/0003-plain-http.md").read_text(encoding="utf-8")
    paragraph = page.partition("The undocumented parts of aiohttp")[2].partition("\n\n")[0]
    users = [
        path
        for path in (ROOT / "src/bascule").rglob("*.py")
        if re.search(r"^(?:import|from) aiohttp\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    used = {name for path in users for name in private_of_aiohttp(path)}
    assert set(re.findall(r"`(?:\w+\.)?(_\w+)`", paragraph)) == used
