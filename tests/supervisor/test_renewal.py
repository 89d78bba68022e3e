"""Files that were renewed are told from files that are being renewed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bascule.configuration.config import Config
from bascule.supervisor.renewal import TRY_AGAIN, Renewal

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """A Secret as a kubelet mounts it: files below a link that it replaces."""
    (tmp_path / "1").mkdir()
    for name in ("tls.crt", "tls.key"):
        (tmp_path / "1" / name).write_text("first")
    (tmp_path / "data").symlink_to("1")
    return tmp_path / "data"


def renewal(folder: Path) -> Renewal:
    return Renewal.of_named(
        Config.model_validate(
            {"tls": {"certificate": str(folder / "tls.crt"), "key": str(folder / "tls.key")}}
        )
    )


def test_what_is_as_it_was_was_not_renewed(mounted: Path) -> None:
    looked_after = renewal(mounted)
    assert not any(looked_after.look() for _ in range(5))


def test_a_secret_that_was_replaced_was_renewed_once(mounted: Path) -> None:
    looked_after = renewal(mounted)
    (mounted.parent / "2").mkdir()
    for name in ("tls.crt", "tls.key"):
        (mounted.parent / "2" / name).write_text("second")
    (mounted.parent / "new").symlink_to("2")
    (mounted.parent / "new").rename(mounted)
    assert [looked_after.look() for _ in range(4)] == [False, True, False, False]


def test_two_files_that_are_written_one_after_the_other_are_one_renewal(mounted: Path) -> None:
    looked_after = renewal(mounted)
    (mounted / "tls.crt").write_text("the second one")
    assert not looked_after.look()
    (mounted / "tls.key").write_text("the second one")
    assert [looked_after.look() for _ in range(4)] == [False, True, False, False]


def test_a_file_that_is_gone_and_comes_back_as_another_was_renewed(mounted: Path) -> None:
    looked_after = renewal(mounted)
    (mounted / "tls.crt").unlink()
    assert not looked_after.look()
    (mounted / "tls.crt").write_text("the second one")
    assert [looked_after.look() for _ in range(3)] == [False, True, False]


def test_what_could_not_be_taken_over_is_told_again_some_time_later_and_what_is_newer_at_once(
    mounted: Path,
) -> None:
    looked_after = renewal(mounted)
    for _ in range(2):
        with (mounted / "tls.crt").open("a") as file:
            file.write("more")
        assert [looked_after.look() for _ in range(2)] == [False, True]
        looked_after.failed()
    assert [looked_after.look() for _ in range(TRY_AGAIN + 5)].index(True) == TRY_AGAIN - 1


def test_what_could_not_be_taken_over_is_told_again_although_it_was_away_when_that_was_due(
    mounted: Path,
) -> None:
    looked_after = renewal(mounted)
    looked_after.failed()
    assert not any(looked_after.look() for _ in range(TRY_AGAIN - 1))
    away = mounted.rename(mounted.with_name("away"))
    assert not looked_after.look()
    away.rename(mounted)
    assert [looked_after.look() for _ in range(4)] == [False, True, False, False]


def test_what_could_not_be_taken_over_is_not_told_again_once_it_was_read(mounted: Path) -> None:
    looked_after = renewal(mounted)
    looked_after.failed()
    looked_after.taken()
    assert not any(looked_after.look() for _ in range(TRY_AGAIN + 5))


def test_a_configuration_that_names_no_file_has_none_to_renew() -> None:
    looked_after = Renewal.of_named(Config())
    assert not any(looked_after.look() for _ in range(3))


def test_what_was_read_meanwhile_is_no_change(mounted: Path) -> None:
    looked_after = renewal(mounted)
    (mounted / "tls.crt").write_text("the second one")
    looked_after.taken()
    assert not any(looked_after.look() for _ in range(3))
