"""Every dependency has its reason, and no reason is left of one that is gone."""

import re
import tomllib

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
