"""What is generated is up to date, and what is not is named with the command that writes it."""

from pathlib import Path

import pytest
from scripts.generated import everything, main


def test_every_generated_file_is_up_to_date() -> None:
    assert main(["--check"], everything()) == 0


def test_what_is_out_of_date_is_named_with_the_command_that_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    old, new, same = tmp_path / "old.md", tmp_path / "pages/new.md", tmp_path / "same.md"
    old.write_text("before", encoding="utf-8")
    same.write_text("same", encoding="utf-8")
    outputs = [(old, "after"), (new, "new"), (same, "same")]

    assert main(["--check"], outputs) == 1
    assert capsys.readouterr().err.splitlines() == [
        "old.md is out of date: run python -m scripts.generated",
        "pages/new.md is out of date: run python -m scripts.generated",
    ]
    assert old.read_text(encoding="utf-8") == "before"

    assert main([], outputs) == 0
    assert capsys.readouterr().out.splitlines() == ["written: old.md", "written: pages/new.md"]
    assert main(["--check"], outputs) == 0
