"""Times and sizes as a person reads them."""

import pytest

from bascule.operate.units import age, size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (3599, "59 min"),
        (3600, "1 h 0 min"),
        (7499, "2 h 4 min"),
        (86399.7, "1 d 0 h"),
        (273_600, "3 d 4 h"),
    ],
)
def test_a_time_has_its_two_largest_units_and_minutes_no_seconds(seconds: float, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (9994, "9.99 kB"),
        (9996, "10.0 kB"),
        (99_960, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (86_100_000, "86.1 MB"),
        (5e15, "5000 TB"),
    ],
)
def test_a_size_has_three_digits(count: float, text: str) -> None:
    assert size(count) == text
