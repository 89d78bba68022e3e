"""HTTP exchanges are bounded in number, and a drain waits for them."""

from __future__ import annotations

import asyncio

from bascule.gateway.exchanges import STATUSES, ExchangeCount
from bascule.handover.counters import CounterFile, GatewayWord


def test_no_more_than_the_most_fit_and_each_is_counted_until_its_end() -> None:
    words = CounterFile.create(1).gateway(0)
    words[GatewayWord.HTTP_IN_FLIGHT] = 7  # of a gateway that died
    exchanges = ExchangeCount(2, words)
    counts = [words[GatewayWord.HTTP_IN_FLIGHT]]
    assert [exchanges.begin() for _ in range(2)] == [True, True]
    for _ in range(2):
        counts.append(words[GatewayWord.HTTP_IN_FLIGHT])
        exchanges.end(True)
    assert counts == [0, 2, 1]
    assert words[GatewayWord.HTTP_IN_FLIGHT] == 0


def test_those_that_do_not_fit_take_no_place_however_long_they_last() -> None:
    words = CounterFile.create(1).gateway(0)
    exchanges = ExchangeCount(1, words)
    assert [exchanges.begin() for _ in range(3)] == [True, False, False]
    assert words[GatewayWord.HTTP_IN_FLIGHT] == 1
    assert words[GatewayWord.HTTP_REFUSED] == 2
    exchanges.end(True)
    assert exchanges.begin()
    for fitted in (False, True, False):
        exchanges.end(fitted)
    assert words[GatewayWord.HTTP_IN_FLIGHT] == 0


def test_one_that_fits_and_finds_no_room_further_on_is_counted_among_those_that_do_not() -> None:
    words = CounterFile.create(1).gateway(0)
    exchanges = ExchangeCount(2, words)
    assert exchanges.begin()
    exchanges.refused()
    assert (words[GatewayWord.HTTP_REFUSED], words[GatewayWord.HTTP_IN_FLIGHT]) == (1, 1)
    exchanges.end(True)
    assert words[GatewayWord.HTTP_IN_FLIGHT] == 0


def test_answers_are_counted_by_the_class_of_their_status() -> None:
    words = CounterFile.create(1).gateway(0)
    exchanges = ExchangeCount(2, words)
    for status in (200, 204, 301, 404, 499, 400, 502, 600, 999):
        exchanges.answered(status)
    assert {name: words[word] for name, word in STATUSES.items()} == {"2xx": 2, "3xx": 1, "4xx": 3, "5xx": 3}


async def test_a_drain_waits_until_none_is_under_way_also_if_another_began_meanwhile() -> None:
    exchanges = ExchangeCount(2, CounterFile.create(1).gateway(0))
    await exchanges.wait_idle()
    exchanges.begin()
    waiting = asyncio.create_task(exchanges.wait_idle())
    await asyncio.sleep(0)
    exchanges.end(True)
    exchanges.begin()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    exchanges.end(True)
    async with asyncio.timeout(5):
        await waiting
