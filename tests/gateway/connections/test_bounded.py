"""Who is one too many costs the one that has been there longest its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from bascule.gateway.connections.bounded import Bounded

if TYPE_CHECKING:
    from collections.abc import Callable

steps = st.lists(st.tuples(st.sampled_from(["enter", "leave", "shed"]), st.integers(0, 9)), max_size=60)


@given(most=st.integers(1, 5), steps=steps)
def test_there_are_never_more_than_the_bound_and_the_oldest_goes(
    most: int, steps: list[tuple[str, int]]
) -> None:
    bounded = Bounded(most)
    inside: list[int] = []
    dropped: list[int] = []
    expected: list[int] = []

    def dropping(who: int) -> Callable[[], None]:
        return lambda: dropped.append(who)

    for what, number in steps:
        if what == "enter" and number not in inside:
            bounded.enter(number, dropping(number))
            if len(inside) == most:
                expected.append(inside.pop(0))
            inside.append(number)
        elif what == "leave":
            bounded.leave(number)
            inside = [one for one in inside if one != number]
        elif what == "shed":
            bounded.shed(number)
            expected += inside[:number]
            inside = inside[number:]
        assert dropped == expected
        assert len(inside) <= most


def test_there_is_room_for_as_many_as_can_enter_without_a_drop() -> None:
    bounded, dropped = Bounded(3), list[str]()
    bounded.enter("first", lambda: dropped.append("first"))
    assert bounded.has_room(2)
    assert not bounded.has_room(3)
    for name in ("second", "third"):
        bounded.enter(name, dropped.clear)
    assert not bounded.has_room(1)
    assert not dropped
