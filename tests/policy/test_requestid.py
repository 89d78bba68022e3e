"""A request is called what a trusted proxy calls it, or else after the trace that it belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.policy.requestid import request_id
from tests.policy.forwarded import NGINX

if TYPE_CHECKING:
    from bascule.policy.fieldlines import Fields

UUID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01".encode()


@pytest.mark.parametrize(
    ("fields", "called"),
    [
        ([], None),
        ([(b"X-Request-ID", UUID.encode())], UUID),
        ([(b"x-request-id", b"first"), (b"X-Request-Id", b"second")], "second"),
        ([(b"X-Request-ID", b"x" * 1000)], "x" * 64),
        ([(b"traceparent", PARENT)], TRACE),
        ([(b"traceparent", PARENT), (b"X-Request-ID", b"its own")], "its own"),
        ([(b"traceparent", PARENT), (b"X-Request-ID", b"")], TRACE),
        ([(b"traceparent", b"cc" + PARENT[2:] + b"-what a later version adds")], TRACE),
        ([(b"traceparent", PARENT[1:])], None),
        ([(b"traceparent", PARENT.upper())], None),
    ],
)
def test_a_trusted_proxys_name_comes_before_the_trace(fields: Fields, called: str | None) -> None:
    assert request_id("10.0.0.1", fields, NGINX) == called


def test_nobody_else_gives_a_request_its_name() -> None:
    assert request_id("192.0.2.7", [(b"X-Request-ID", b"mine"), (b"traceparent", PARENT)], NGINX) is None


@given(st.lists(st.tuples(st.sampled_from([b"X-Request-ID", b"traceparent"]), st.binary(max_size=200))))
def test_whatever_is_sent_fits_into_a_tag(fields: Fields) -> None:
    called = request_id("10.0.0.1", fields, NGINX)
    assert called is None or (len(called) <= 64 and "\0" not in called)
