"""What is measured goes before other programs, and afterwards all is as it was."""

from pathlib import Path

from bench import processors


def test_the_session_goes_ahead_for_a_while(tmp_path: Path) -> None:
    """As the kernel writes it, and as it wants it written."""
    setting = tmp_path / "autogroup"
    setting.write_text("/autogroup-42 nice 3\n")
    with processors.ahead(setting):
        assert setting.read_text() == "-10"
    assert setting.read_text() == "3"


def test_a_kernel_without_groups_is_left_alone(tmp_path: Path) -> None:
    """There is nothing to write to."""
    with processors.ahead(tmp_path / "autogroup"):
        pass
    assert list(tmp_path.iterdir()) == []
