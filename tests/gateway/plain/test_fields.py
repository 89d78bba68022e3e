"""Fields for aiohttp's client: each byte kept, in order, and names remembered within bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bascule.gateway.plain.fields import FieldsAsText

if TYPE_CHECKING:
    from bascule.policy.fieldlines import Fields


def test_every_byte_of_a_value_is_a_character() -> None:
    value = bytes(range(256))

    assert FieldsAsText().of([(b"X", value)])["X"].encode("latin-1") == value


@pytest.mark.parametrize(
    ("fields", "spelt"),
    [
        ([(b"B", b"1"), (b"a", b"2")], [("B", "1"), ("a", "2")]),
        ([(b"Cookie", b"1"), (b"X", b""), (b"cookie", b"2")], [("Cookie", "1"), ("X", ""), ("Cookie", "2")]),
    ],
)
def test_order_stays_and_names_that_differ_in_case_are_spelt_alike(
    fields: Fields, spelt: list[tuple[str, str]]
) -> None:
    text = FieldsAsText()
    for _ in range(2):  # as new names, and as known ones
        assert list(text.of(fields).items()) == spelt


def name(text: FieldsAsText, known_as: bytes) -> str:
    """Return the decoded name, which is the same object as long as it is remembered."""
    return next(iter(text.of([(known_as, b"")])))


def test_names_are_remembered_within_bounds() -> None:
    text = FieldsAsText()
    first, long = name(text, b"X-First"), name(text, b"X" * 65)
    assert name(text, b"X-First") is first
    assert name(text, b"X" * 65) is not long

    for number in range(1100):
        name(text, b"X-%d" % number)

    assert name(text, b"X-First") is not first
