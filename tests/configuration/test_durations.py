"""Durations as operators write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from bascule.configuration.durations import Duration, Patience, PositiveDuration, WholeSeconds

any_duration: TypeAdapter[float] = TypeAdapter(Duration)
positive: TypeAdapter[float] = TypeAdapter(PositiveDuration)
whole: TypeAdapter[float] = TypeAdapter(WholeSeconds)
patience: TypeAdapter[float] = TypeAdapter(Patience)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30.0),
        ("5m", 300.0),
        ("1h", 3600.0),
        (" 1.5s ", 1.5),
        (0, 0.0),
        (2, 2.0),
        (0.25, 0.25),
        (0.0000014, 0.000001),
        (315_360_000, 315_360_000.0),
    ],
)
def test_numbers_are_seconds_and_texts_have_a_unit(written: object, seconds: float) -> None:
    assert any_duration.validate_python(written) == seconds


@pytest.mark.parametrize(
    "written",
    [
        "5",
        "",
        "s",
        "5 m",
        "-1s",
        "1d",
        -1,
        True,
        None,
        [],
        float("nan"),
    ],
)
def test_anything_else_is_refused_with_what_is_allowed(written: object) -> None:
    with pytest.raises(ValidationError, match="a number of seconds, or a text such as"):
        any_duration.validate_python(written)


@pytest.mark.parametrize("written", [315_360_001, float("inf"), 10**400, "99999h", "87600.1h"])
def test_more_than_ten_years_are_refused_with_the_bound(written: object) -> None:
    for kind in (any_duration, positive, patience):
        with pytest.raises(ValidationError, match=r"at most ten years \(87600h\)"):
            kind.validate_python(written)
    with pytest.raises(ValidationError, match="whole seconds from 1s to 32767s"):
        whole.validate_python(written)


def test_a_positive_duration_is_not_zero() -> None:
    assert positive.validate_python("1ms") == 0.001
    with pytest.raises(ValidationError, match="more than 0"):
        positive.validate_python("0s")


@pytest.mark.parametrize("written", [0, 0.5, "1500ms", 32768])
def test_the_kernel_takes_whole_seconds_only(written: object) -> None:
    assert [whole.validate_python(good) for good in ("2m", 1, 32767)] == [120, 1, 32767]
    with pytest.raises(ValidationError, match="whole seconds"):
        whole.validate_python(written)


@pytest.mark.parametrize("written", ["1ms", 4.99])
def test_patience_is_endless_or_five_seconds_at_least(written: object) -> None:
    assert patience.validate_python(0) == 0
    assert patience.validate_python("5s") == 5
    with pytest.raises(ValidationError, match="0, or from 5s on"):
        patience.validate_python(written)


@given(st.floats(0, 1e8))
def test_what_was_read_reads_back_as_itself(seconds: float) -> None:
    once = any_duration.validate_python(seconds)

    assert any_duration.validate_python(once) == once
    assert any_duration.validate_json(any_duration.dump_json(once)) == once
