"""The page about conformance says what the tests compare."""

from tests.conformance.page import PAGE, render


def test_the_page_is_the_one_the_table_gives() -> None:
    assert PAGE.read_text() == render(), "python -m tests.conformance.page > docs/reference/conformance.md"
