"""A later gateway reads from a tag what the former one knew."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from bascule.telemetry.errand import Errand
from bascule.vocabulary import Kind


@given(
    st.text(), st.text(), st.text(), st.none() | st.text(), st.none() | st.integers(),
    st.none() | st.text(min_size=1),
)  # fmt: skip
def test_an_errand_comes_back_from_its_tag(
    route: str, client: str, upstream: str, user: str | None, expires: int | None, request_id: str | None
) -> None:
    assume("\0" not in route + client + upstream + (request_id or ""))
    assume(expires is None or user is not None)
    errand = Errand(route, Kind.APP, client, upstream, user, expires, request_id)
    assert Errand.of_tag(errand.tag(), Kind.APP) == errand
