"""A gateway that retires leaves its figures to the next one; one that dies leaves none."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.gateway.figures import Figures
from bascule.handover.journal import Journal


class Count:
    """A figure."""

    def __init__(self, value: int = 0) -> None:
        self.value = value

    def dump(self) -> Any:
        return {"value": self.value}

    def restore(self, dumped: Any, /) -> None:
        self.value = dumped["value"]


def test_the_next_gateway_goes_on_with_what_a_gateway_left() -> None:
    journal = Journal.create("figures")
    Figures(journal, {"one": Count(1), "two": Count(2)}).leave()
    one, two = Count(), Count()
    Figures(Journal(journal.descriptor), {"two": two, "one": one}).take_over()
    assert (one.value, two.value) == (1, 2)


def test_what_was_taken_over_is_not_taken_over_again() -> None:
    journal = Journal.create("figures")
    Figures(journal, {"one": Count(1)}).leave()
    Figures(journal, {"one": Count()}).take_over()
    after_a_death = Count(7)
    Figures(journal, {"one": after_a_death}).take_over()
    assert after_a_death.value == 7


def test_without_a_former_gateway_each_figure_begins_afresh() -> None:
    one = Count()
    Figures(Journal.create("figures"), {"one": one}).take_over()
    assert one.value == 0


def test_figures_that_a_gateway_dies_of_are_not_there_for_the_next() -> None:
    journal = Journal.create("figures")
    Figures(journal, {"one": Count(1)}).leave()
    with pytest.raises(KeyError):
        Figures(journal, {"one": Count(), "no other gateway has it": Count()}).take_over()
    one = Count()
    Figures(journal, {"one": one}).take_over()
    assert one.value == 0
