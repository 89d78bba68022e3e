"""A run is measured under cubic, and leaves the computer as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from bench.congestion import steady

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def setting(tmp_path: Path) -> Path:
    path = tmp_path / "tcp_congestion_control"
    path.write_text("bbr\n")
    return path


def test_a_run_has_cubic_and_puts_back_what_was_there(setting: Path) -> None:
    with steady(setting) as name:
        assert (name, setting.read_text()) == ("cubic", "cubic")
    assert setting.read_text() == "bbr"


def test_a_run_that_fails_puts_it_back_too(setting: Path) -> None:
    with pytest.raises(KeyboardInterrupt), steady(setting):
        raise KeyboardInterrupt
    assert setting.read_text() == "bbr"


def test_what_may_not_be_set_is_told_as_it_is(setting: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, text: str) -> int:
        raise PermissionError

    monkeypatch.setattr(type(setting), "write_text", refuse)
    with steady(setting) as name:
        assert name == "bbr"
