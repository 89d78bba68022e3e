"""The ways to feed bytes to an incremental parser: whole, byte by byte, and at every single split."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from hypothesis import strategies as st

__all__ = ["byte_by_byte", "chopped", "each_way", "every_split", "whole"]

Pieces = list[bytes]


def whole(data: bytes) -> Pieces:
    """Return it in one piece."""
    return [data]


def byte_by_byte(data: bytes) -> Pieces:
    """Return one piece a byte."""
    return [data[index : index + 1] for index in range(len(data))]


def every_split(data: bytes) -> Iterator[Pieces]:
    """Yield every way to cut it in two."""
    for index in range(1, len(data)):
        yield [data[:index], data[index:]]


each_way = pytest.mark.parametrize("cut", [whole, byte_by_byte], ids=["whole", "byte_by_byte"])
"""Run a test with both simple ways, as argument ``cut``."""

Cut = Callable[[bytes], Pieces]


def chopped(data: bytes) -> st.SearchStrategy[Pieces]:
    """Strategy: the same bytes in any pieces."""
    if not data:
        return st.just([])
    places = st.lists(st.integers(0, len(data)), max_size=12)

    def cut(at: list[int]) -> Pieces:
        edges = [0, *sorted(at), len(data)]
        return [data[a:b] for a, b in pairwise(edges) if a < b]

    return places.map(cut)
