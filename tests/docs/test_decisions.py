"""Every dependency has its reason, no reason outlives its dependency, and what is private of one is named."""

import ast
import importlib
import inspect
import pkgutil
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

from tests.support.parts import ROOT

DOCUMENT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = DOCUMENT["project"]

ELSEWHERE = {"atheris": "Makefile", "wheel": "scripts/lock"}
"""What no list of pyproject.toml has, and where it stands."""


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> set[str]:
    requirements = [
        *DOCUMENT["build-system"]["requires"],
        *PROJECT["dependencies"],
        *(one for group in DOCUMENT["dependency-groups"].values() for one in group),
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


def test_a_dependency_that_is_said_to_stand_elsewhere_stands_there() -> None:
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
    asked = {normalised(re.split(r"[^A-Za-z0-9._-]", one)[0]) for one in PROJECT["dependencies"]}
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


DECISION = (ROOT / "docs/decisions/0003-plain-http.md").read_text(encoding="utf-8")
UNDOCUMENTED = re.findall(r"^\| `([\w.]+)\.(\w+)(\(.*\))?` \| \S", DECISION, re.MULTILINE)
"""What we use of aiohttp and it does not document: whose, the name, and its parameters where it is called."""


def test_all_that_is_private_of_aiohttp_is_named_where_a_new_release_is_reviewed() -> None:
    users = [
        path
        for path in (ROOT / "src/bascule").rglob("*.py")
        if re.search(r"^(?:import|from) aiohttp\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    used = {name: path for path in users for name in private_of_aiohttp(path)}
    assert {name for _, name, _ in UNDOCUMENTED if name.startswith("_")} == used.keys()
    where = {path.relative_to(ROOT / "src/bascule/gateway").as_posix() for path in used.values()}
    assert where == {"plain/client.py", "plain/connection.py", "listening/server.py"}
    (asked,) = (one for one in PROJECT["dependencies"] if one.startswith("aiohttp"))
    assert f"As it is in {asked.replace('>', ' >', 1)};" in DECISION


@pytest.mark.parametrize(
    ("whose", "name", "parameters"), UNDOCUMENTED, ids=[".".join(each[:2]) for each in UNDOCUMENTED]
)
def test_what_is_undocumented_of_aiohttp_is_there_as_it_was(whose: str, name: str, parameters: str) -> None:
    try:
        owner = pkgutil.resolve_name(f"aiohttp.{whose}")
        found = inspect.getattr_static(owner, name, None)
    except (AttributeError, ImportError):
        owner = found = None
    if not parameters:
        assert found is not None or is_set(owner, name), f"aiohttp has no {whose}.{name} any more"
        return
    assert callable(found), f"aiohttp has no {whose}.{name}{parameters} any more"
    if parameters != "(...)":
        bare = [
            each.replace(annotation=each.empty, default=each.empty)
            for each in inspect.signature(found).parameters.values()
        ]
        assert str(inspect.Signature(bare)) == parameters, f"aiohttp has changed {whose}.{name}"


def is_set(owner: Any, name: str) -> bool:
    """Tell whether the code of a class gives its objects an attribute."""
    return owner is not None and any(
        re.search(rf"self\.{name}\b[^=\n]*=[^=]", inspect.getsource(base))
        for base in inspect.getmro(owner)
        if base.__module__.startswith("aiohttp")
    )
