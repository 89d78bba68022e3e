"""Times as callers write them, in the forms that JavaScript's `Date` reads."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bascule.admin.datestamp import seconds_since_epoch


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2099", "2099-01-01T00:00:00"),
        ("2099-11", "2099-11-01T00:00:00"),
        ("2099-11-14", "2099-11-14T00:00:00"),
        ("20991114", "2099-11-14T00:00:00"),
        ("2023-11-14T22:13", "2023-11-14T22:13:00"),
        ("2023-11-14 22:13", "2023-11-14T22:13:00"),
        ("2023-11-14T22:13:20", "2023-11-14T22:13:20"),
        ("2023-11-14T22:13:20.250Z", "2023-11-14T22:13:20.250"),
        ("2023-11-14T22:13:20.250123Z", "2023-11-14T22:13:20.250123"),  # Python's isoformat
        ("2023-11-14T22:13:20.250123456Z", "2023-11-14T22:13:20.250123"),  # Go's
        ("2023-11-14t22:13:20z", "2023-11-14T22:13:20"),
        ("2023-11-14T22:13:20+00:00", "2023-11-14T22:13:20"),
        ("2023-11-15T00:13:20+02:00", "2023-11-14T22:13:20"),
        ("2023-11-14T17:13:20-0500", "2023-11-14T22:13:20"),
        ("2023-11-15T00:13:20 02:00", "2023-11-14T22:13:20"),  # a plus that nobody escaped
        ("2023-11-15 00:13:20 02:00", "2023-11-14T22:13:20"),
        ("2023-11-15T00:13:20.5 0200", "2023-11-14T22:13:20.5"),
        ("2023-11-14T24:00", "2023-11-15T00:00:00"),
        ("2023-12-31T24:00:00Z", "2024-01-01T00:00:00"),
        ("9999-12-31T24:00:00Z", None),
    ],
)
def test_every_form_of_iso_8601_is_read(text: str, expected: str | None) -> None:
    if expected is None:
        assert seconds_since_epoch(text) == datetime(9999, 12, 31, tzinfo=UTC).timestamp() + 86400
    else:
        assert seconds_since_epoch(text) == datetime.fromisoformat(expected).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "yesterday", "now", "-1h", "1700000000", "1700000000.5", "99999", "2023-13", "2023-02-30",
        "2023-11-14T25:00", "2023-11-14T24:01", "2023-11-14T22:13:21+99:00", "2023-11-14T22:13:21 CET",
        "14.11.2023", "11/14/2023", "\uff12\uff10\uff12\uff13", "2023-11-14T22:13:20Z; secret", "0000",
        "2023-11-14" * 1000,
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r"^no time$"):
        seconds_since_epoch(text)
