"""What an installation decides before anything is compiled, and what is handed out."""

import os
import runpy
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import setuptools  # type: ignore[import-untyped]

from tests.support.parts import ROOT


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Callable[[], str | None]:
    """The function of setup.py, which builds nothing here."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("BASCULE_BUILD_EXTENSION", "no")
    monkeypatch.setattr(setuptools, "setup", lambda **_: None)
    found: Callable[[], str | None] = runpy.run_path("setup.py")["compiler"]
    return found


@pytest.mark.parametrize("blank", ["", " ", "\t "])
def test_a_compiler_whose_name_is_blank_is_the_usual_one(
    blank: str, compiler: Callable[[], str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CC", raising=False)
    usual = compiler()
    monkeypatch.setenv("CC", blank)
    assert compiler() == usual
    assert "CC" not in os.environ, "setuptools would run it"


def test_a_compiler_may_have_arguments(
    compiler: Callable[[], str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "sh -m64")
    assert compiler() == shutil.which("sh")
    monkeypatch.setenv("CC", "no-such-compiler -m64")
    assert compiler() is None


def test_a_source_archive_has_what_builds_and_no_more(tmp_path: Path) -> None:
    tree, built = tmp_path / "tree", tmp_path / "built"
    shutil.copytree(
        ROOT / "src", tree / "src", ignore=shutil.ignore_patterns("*.egg-info", "*.so", "__pycache__")
    )
    shutil.copytree(
        ROOT / "tests", tree / "tests", ignore=lambda _, names: [n for n in names if "." not in n]
    )
    for name in ("LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, tree)
    build = f"from setuptools import build_meta; build_meta.build_sdist({str(built)!r})"
    environment = {**os.environ, "BASCULE_BUILD_EXTENSION": "no"}  # no archive may depend on a compiler
    subprocess.run([sys.executable, "-c", build], cwd=tree, env=environment, check=True, capture_output=True)
    (archive,) = built.iterdir()
    with tarfile.open(archive) as opened:
        found = {member.name.partition("/")[2] for member in opened.getmembers() if member.isfile()}
    files = [path for path in (tree / "src/bascule").rglob("*") if path.is_file()]
    sources = {str(path.relative_to(tree)) for path in files}
    loose = {name for name in found - sources if not name.startswith("src/bascule.egg-info")}
    assert sources <= found
    assert loose == {
        "LICENSE", "MANIFEST.in", "PKG-INFO", "README.md", "pyproject.toml", "setup.cfg", "setup.py",
    }  # fmt: skip


def test_the_extension_carries_no_debug_information() -> None:
    extension = next((ROOT / "src/bascule/forwarder").glob("_hot.*.so"), None)
    if extension is None:
        pytest.skip("it was not built")
    assert b".debug_info" not in extension.read_bytes()
