"""Field lines keep their order, also where one takes the place of others."""

from __future__ import annotations

from bascule.policy.fieldlines import with_host


def test_the_host_of_the_target_takes_the_place_of_every_other() -> None:
    fields = [(b"A", b"1"), (b"HOST", b"x"), (b"host", b"y"), (b"B", b"2")]
    assert with_host(fields, b"z") == [(b"Host", b"z"), (b"A", b"1"), (b"B", b"2")]
