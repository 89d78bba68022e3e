"""YAML without surprises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.configuration.yamltext import YamlProblem, parse_yaml, yaml_scalar

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (b"no", "no"),
        (b"on", "on"),
        (b"12:30", "12:30"),
        (b"0x10", "0x10"),
        (b"1_000", "1_000"),
        (b"2020-01-01", "2020-01-01"),
        (b"0777", 777),
        (b"-3", -3),
        (b"1e-06", 1e-6),
        (b".5", 0.5),
        (b".inf", ".inf"),
        (b"true", True),
        (b"~", None),
        (b"", None),
        (b"\xef\xbb\xbf5", 5),
    ],
)
def test_only_the_words_of_yaml_1_2_are_special(written: bytes, value: object) -> None:
    data = parse_yaml(written).data

    assert data == value
    assert type(data) is type(value)


def test_keys_are_always_text() -> None:
    assert parse_yaml(b"{1: a, true: b, ~: c}").data == {"1": "a", "true": "b", "~": "c"}


def test_anchors_and_merge_keys_work() -> None:
    assert parse_yaml(b"a: &x {k: 1}\nb:\n  <<: *x\n  l: *x").data == {
        "a": {"k": 1},
        "b": {"k": 1, "l": {"k": 1}},
    }


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (b"a: 1\nb: 2\na: 3", 'line 3, column 1: duplicate key "a"'),
        (b"a:\n  b: [1", 'line 2, column 6: a "[" that is not closed, or lacks a comma'),
        (
            b"a: 1\n---\nb: 2",
            "line 2, column 1: expected a single document in the stream, but found another document",
        ),
        (b"a: b\n\xff", "line 2, column 1: this is not UTF-8"),
        (b'a: b\nc: "\\ud83d"', "line 2, column 4: half of a character"),
        (b"a: b\nc: \x00", "line 2, column 4: a control character"),
        (b"[" * 1200, "line 1, column 1: this is nested too deeply"),
        (b"a: " + b"9" * 5000, "line 1, column 1: a number or a tagged value cannot be read"),
        (b"a: !!bool x", "line 1, column 1: a number or a tagged value cannot be read"),
        (b"? [a]\n: 1", "line 1, column 3: a key must be text"),
        (b"a: &x [1, {b: *x}]", "line 1, column 4: an alias to what contains it"),
        (b"a: *x", "line 1, column 4: found undefined alias 'x'; text that begins with * needs quotes"),
        (
            b"!!timestamp 2020-01-01",
            "line 1, column 1: a tag, !!timestamp; text that begins with ! needs quotes",
        ),
    ],
)
def test_what_is_wrong_is_told_with_line_and_column(written: bytes, message: str) -> None:
    with pytest.raises(YamlProblem) as caught:
        parse_yaml(written)

    assert str(caught.value) == message


def test_aliases_that_repeat_cost_no_more_than_their_text() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]

    assert parse_yaml("\n".join(lines).encode()).line_of(("a59",)) == 60


def test_a_key_knows_its_line() -> None:
    document = parse_yaml(b"a: 1\nb:\n  - x\n  - c: 1\n    d: 2\n")

    assert document.line_of(("b", 1, "d")) == 5
    assert document.line_of(("b", 0)) == 3
    assert document.line_of(("b", 7, "d")) == 2
    assert document.line_of(("b", "x")) == 2
    assert document.line_of(("nowhere",)) == 1
    assert document.line_of(("a", "below")) == 1
    assert parse_yaml(b"").line_of(("a",)) == 1


@given(values)
def test_a_value_written_on_one_line_reads_back_as_itself(value: object) -> None:
    written = yaml_scalar(value)

    assert "\n" not in written
    assert parse_yaml(b"key: " + written.encode()).data == {"key": value}
