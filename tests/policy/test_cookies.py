"""Our own cookie is read and withheld by one reading, and every other keeps its bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.policy.cookies import cookie_value, without_cookie

NAME = b"proxy_session"


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ([], None),
        ([b"proxy_session=x"], b"x"),
        ([b"a=1; proxy_session=x=y ; b=2"], b"x=y"),
        ([b"a=1;\tproxy_session = x"], b"x"),
        ([b"proxy_session="], b""),
        ([b"a=1", b"proxy_session=x; proxy_session=y", b"proxy_session=z"], b"x"),
        ([b"proxy_session", b"Proxy_Session=x", b"not_proxy_session=x", b"a=proxy_session=x"], None),
    ],
)
def test_the_first_cookie_of_a_name_is_found(fields: list[bytes], found: bytes | None) -> None:
    assert cookie_value(fields, NAME) == found


@pytest.mark.parametrize(
    ("cookie", "left"),
    [
        (b"proxy_session=x", None),
        (b"a=1; proxy_session=x; b=2", b"a=1; b=2"),
        (b"proxy_session=x; b=2", b"b=2"),
        (b"a=1; proxy_session=x", b"a=1"),
        (b"a=1;proxy_session = x;proxy_session=y;b", b"a=1;b"),
        (b"not_proxy_session=x", b"not_proxy_session=x"),
        (b"a=proxy_session", b"a=proxy_session"),
    ],
)
def test_one_cookie_is_taken_out_and_the_others_keep_their_bytes(cookie: bytes, left: bytes | None) -> None:
    fields = [(b"Host", b"proxy_session=x"), (b"cookie", cookie)]

    assert without_cookie(fields, NAME) == fields[:1] + ([] if left is None else [(b"cookie", left)])


pieces = st.sampled_from([NAME, b"=", b";", b" ", b"\t", b"a", b'"', b"\xff", b","])


@given(st.lists(st.lists(pieces, max_size=12).map(b"".join), max_size=3))
def test_what_is_read_as_ours_is_never_passed_on(cookies: list[bytes]) -> None:
    passed = without_cookie([(b"Cookie", cookie) for cookie in cookies], NAME)

    assert cookie_value([cookie for _, cookie in passed], NAME) is None
