"""Large pieces and new connections give way to the forwarders, small pieces go on."""

from __future__ import annotations

import os
import time

import pytest

from bascule.gateway.connections.giveway import give_way, give_way_after


@pytest.mark.parametrize(("moved", "times"), [(0, 0), (16_383, 0), (16_384, 1), (1_000_000, 1)])
def test_only_a_large_piece_gives_way(monkeypatch: pytest.MonkeyPatch, moved: int, times: int) -> None:
    given: list[None] = []
    monkeypatch.setattr(os, "sched_yield", lambda: given.append(None))
    give_way_after(moved)
    assert len(given) == times


def test_what_takes_long_whatever_it_moves_gives_way_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[None] = []
    monkeypatch.setattr(os, "sched_yield", lambda: given.append(None))
    give_way()
    give_way()
    assert len(given) == 2


@pytest.mark.parametrize(("took", "again"), [(0.25, 2.5), (3600.0, 10.0)])
def test_who_would_have_to_wait_long_gives_way_seldom(
    monkeypatch: pytest.MonkeyPatch, took: float, again: float
) -> None:
    now, given = 100.0, 0

    def others_run() -> None:
        nonlocal now, given
        now += took
        given += 1

    monkeypatch.setattr(os, "sched_yield", others_run)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for _ in range(64):
        give_way()
        give_way_after(1_000_000)
    assert given == 1
    now += again + 0.1
    give_way()
    assert given == 2
