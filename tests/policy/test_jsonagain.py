"""What was read as JSON and cannot be written as JSON."""

from __future__ import annotations

import json

import pytest

from bascule.policy.jsonagain import DEEPEST, check_writable


def nested(levels: int) -> object:
    return json.loads("[" * levels + "]" * levels)


@pytest.mark.parametrize("text", ["1", '"x"', "null", '{"a": [1, {"b": 2.5}]}', "1e300"])
def test_what_can_be_written_again_passes(text: str) -> None:
    check_writable(json.loads(text))


def test_the_deepest_passes_and_one_level_more_does_not() -> None:
    check_writable(nested(DEEPEST))
    for deeper in (nested(DEEPEST + 1), {"a": nested(DEEPEST)}):
        with pytest.raises(RecursionError):
            check_writable(deeper)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-1e999"])
def test_a_number_that_json_cannot_hold_does_not_pass(number: str) -> None:
    with pytest.raises(ValueError, match="JSON"):
        check_writable(json.loads(f'{{"a": [{number}]}}'))
