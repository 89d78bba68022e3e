"""What an installation decides before anything is compiled."""

import os
import runpy
import shutil
from collections.abc import Callable

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
