"""`bascule sessions` in columns."""

from __future__ import annotations

from typing import Any

from bascule.operate.sessionstext import ORDERS, counts_text, sessions_text


def row(**facts: Any) -> dict[str, Any]:
    known = {
        "id": "1c3", "route": "lab", "kind": "jupyter", "user": "ada", "client": "10.1.2.3",
        "upstream": "lab.svc:8888", "forwarder": 0, "age": 7499.0, "idle": 4100.2, "roundTrip": None,
        "bytesIn": 1204, "bytesOut": 88213, "framesIn": 41, "framesOut": 212,
    }  # fmt: skip
    return {**known, **facts}


def test_a_session_is_a_line() -> None:
    assert sessions_text([row(), row(id="1c4", user=None)]) == (
        "ID   ROUTE  KIND     USER  CLIENT    UPSTREAM            AGE       IDLE       IN      OUT\n"
        "1c3  lab    jupyter  ada   10.1.2.3  lab.svc:8888  2 h 4 min  1 h 8 min  1.20 kB  88.2 kB\n"
        "1c4  lab    jupyter  -     10.1.2.3  lab.svc:8888  2 h 4 min  1 h 8 min  1.20 kB  88.2 kB\n"
    )


def test_the_round_trip_is_shown_where_a_browser_has_answered_a_ping() -> None:
    lines = sessions_text([row(), row(roundTrip=0.0312)]).splitlines()

    assert [line.rpartition("  ")[2].strip() for line in lines] == ["ROUND TRIP", "-", "31.2 ms"]


def test_ids_are_numbers_that_grow() -> None:
    rows = [row(id="ff"), row(id="100"), row(id="1a")]

    assert [each["id"] for each in sorted(rows, key=ORDERS["id"])] == ["1a", "ff", "100"]


def test_whoever_holds_most_comes_first() -> None:
    rows = [row(client="a"), row(client="b"), row(client="b")]

    assert counts_text(rows, "client") == "CLIENT  SESSIONS\nb              2\na              1\n"
