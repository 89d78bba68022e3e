import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.admin.listing import SessionList, answer, parse_query
from bascule.admin.problem import Problem
from bascule.admin.view import SessionRow
from bascule.vocabulary import Kind
from tests.admin.fake_view import FakeView, config


def row(number: int, **changes: object) -> SessionRow:
    values: dict[str, object] = {
        "id": f"{number:04x}",
        "route": "lab",
        "kind": "jupyter",
        "user": "ada",
        "client": "10.0.0.1",
        "upstream": "lab:8888",
        "forwarder": 0,
        "age": float(number),
        "idle": float(number % 7),
        "round_trip": None,
        "bytes_in": number,
        "bytes_out": number * 10,
        "frames_in": 1,
        "frames_out": 2,
    }
    return SessionRow(**{**values, **changes})  # type: ignore[arg-type]


def ids(body: dict[str, object]) -> list[str]:
    sessions = body["sessions"]
    assert isinstance(sessions, list)
    return [session["id"] for session in sessions]


def ask(rows: list[SessionRow], **query: str) -> dict[str, object]:
    return answer(rows, parse_query(query))


def test_a_session_is_listed_if_it_passes_every_filter() -> None:
    rows = [row(1), row(2, user="grace"), row(3, kind="app", route="apps"), row(4, user=None)]
    assert ids(ask(rows, user="ada")) == ["0001", "0003"]
    assert ids(ask(rows, user="ada", kind="app")) == ["0003"]
    assert ids(ask(rows, route="lab")) == ["0001", "0002", "0004"]
    assert ids(ask(rows, id="0002")) == ["0002"]
    assert ids(ask(rows, minAge="3")) == ["0003", "0004"]
    assert ids(ask(rows, minIdle="3.5")) == ["0004"]


def test_the_total_counts_what_passes_the_filters_not_what_is_shown() -> None:
    body = ask([row(number) for number in range(10)], limit="3", minAge="5")
    assert body["total"] == 5
    assert len(ids(body)) == 3


@pytest.mark.parametrize("key", ["age", "idle", "bytesIn", "bytesOut", "route", "kind", "user", "id"])
def test_every_order_can_be_reversed(key: str) -> None:
    rows = [row(number, user=None if number == 3 else f"user{number}") for number in range(6)]
    up, down = ids(ask(rows, sort=key)), ids(ask(rows, sort=f"-{key}"))
    assert sorted(up) == sorted(down)
    if key in ("age", "bytesIn", "bytesOut", "id"):
        assert up == down[::-1]


def test_equal_keys_keep_the_order_of_ids() -> None:
    rows = [row(number, idle=5.0) for number in (3, 1, 2)]
    assert ids(ask(rows, sort="idle")) == ids(ask(rows, sort="-idle")) == ["0001", "0002", "0003"]


@given(st.integers(0, 60), st.integers(1, 25))
def test_walking_by_cursor_shows_every_session_once(count: int, limit: int) -> None:
    rows = [row(number) for number in range(count)]
    seen: list[str] = []
    query = {"limit": str(limit)}
    while True:
        body = ask(rows, **query)
        seen += ids(body)
        if body["next"] is None:
            break
        query["cursor"] = str(body["next"])
    assert seen == [one.id for one in rows]


def test_what_ends_meanwhile_hides_nothing_from_a_walk() -> None:
    rows = [row(number) for number in range(6)]
    first = ask(rows, limit="3")
    second = ask(rows[2:], limit="3", cursor=str(first["next"]))
    assert ids(first) + ids(second) == [one.id for one in rows]


def test_ids_are_ordered_as_they_were_given_and_a_walk_meets_who_starts_meanwhile() -> None:
    # As the gateway prints them: hexadecimal, without leading zeros.
    rows = [row(number, id=f"{number:x}") for number in (0x100, 0x2, 0xFF, 0x10)]
    assert ids(ask(rows, sort="id")) == ["2", "10", "ff", "100"]
    assert ids(ask(rows, sort="-id")) == ["100", "ff", "10", "2"]
    first = ask(rows, limit="3")
    second = ask([*rows, row(0x101, id="101")], limit="3", cursor=str(first["next"]))
    assert ids(first) + ids(second) == ["2", "10", "ff", "100", "101"]


def test_an_offset_looks_at_a_stretch_of_a_sorted_table() -> None:
    rows = [row(number) for number in range(20)]
    body = ask(rows, sort="-age", offset="5", limit="2")
    assert ids(body) == ["000e", "000d"]
    assert body["next"] is None


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ({"kind": "kernel"}, "kind"),
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"limit": "1" * 30}, "limit"),
        ({"limit": "²"}, "limit"),
        ({"offset": "-1"}, "offset"),
        ({"minAge": "soon"}, "minAge"),
        ({"minAge": "nan"}, "minAge"),
        ({"minIdle": "-1"}, "minIdle"),
        ({"minIdle": "inf"}, "minIdle"),
        ({"sort": "colour"}, "sort"),
        ({"sort": "age", "cursor": "00"}, "cursor"),
        ({"cursor": "00", "offset": "1"}, "cursor"),
    ],
)
def test_a_parameter_that_cannot_be_is_named(query: dict[str, str], parameter: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_query(query)
    assert (caught.value.status, caught.value.parameter) == (400, parameter)


def test_an_unknown_parameter_is_refused_without_repeating_it() -> None:
    with pytest.raises(Problem) as caught:
        parse_query({"<script>": "1"})
    assert caught.value.status == 400
    assert "script" not in caught.value.detail


async def test_one_reading_serves_everybody_for_half_a_second() -> None:
    view = FakeView(config(), sessions=3)
    now = 10.0
    shared = SessionList(view, lambda: now)
    assert len(await shared.rows()) == 3
    view.open(kind=Kind.APP)
    now = 10.4
    assert len(await shared.rows()) == 3
    now = 10.5
    assert len(await shared.rows()) == 4
    assert view.reads == 2
