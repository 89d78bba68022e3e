"""The operator's commands: what they ask, what they print, and how they end."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from bascule import cli
from bascule.configuration.config import WebSocketProxy
from bascule.vocabulary import Kind
from tests.admin.fake_view import FakeView, config
from tests.admin.support import admin_in_a_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Run = Callable[..., tuple[int, str, str]]

MANY = 2345
"""More than two answers of the API hold."""


@pytest.fixture
def view() -> FakeView:
    return FakeView(config(websocket_proxy=WebSocketProxy(max_sessions_per_app=3000)))


@pytest.fixture
def run(view: FakeView, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run a command against the view; returns its exit status, output and errors."""
    with admin_in_a_thread(view) as address:
        monkeypatch.setenv("BASCULE_ADMIN", address)

        def command(*arguments: str) -> tuple[int, str, str]:
            status = 0
            try:
                cli.main([*arguments])
            except SystemExit as ended:
                status = int(ended.code or 0)
            return status, *capsys.readouterr()

        yield command


def ids(output: str) -> list[str]:
    return [line.split()[0] for line in output.splitlines()[1:]]


def test_status_ends_with_0_while_the_proxy_is_ready_and_with_1_when_it_drains(
    run: Run, view: FakeView
) -> None:
    view.open()
    status, output, _ = run("status")
    assert status == 0
    assert "sessions       1 of 3000 (0%)" in output

    assert run("drain") == (0, "Draining; 1 session is still open.\n", "")
    status, output, _ = run("status", "--json")
    assert (status, json.loads(output)["draining"]) == (1, True)


def test_all_sessions_are_listed_however_many_there_are(run: Run, view: FakeView) -> None:
    opened = [view.open() for _ in range(MANY)]

    status, output, errors = run("sessions")

    assert (status, errors) == (0, "")
    assert ids(output) == opened


@pytest.mark.parametrize(
    ("key", "field", "reverse"),
    [
        ("age", "age", True),
        ("idle", "idle", True),
        ("in", "bytesIn", True),
        ("out", "bytesOut", True),
        ("user", "user", False),
        ("route", "route", False),
    ],
)
def test_they_are_sorted_as_asked(run: Run, view: FakeView, key: str, field: str, reverse: bool) -> None:
    for age in (5, 500, 50):
        view.open(age=age)

    rows = [json.loads(line) for line in run("sessions", "--sort", key, "--json")[1].splitlines()]

    values = [row[field] or "" for row in rows]
    assert len(rows) == 3
    assert values == sorted(values, reverse=reverse)


def test_filters_say_which_and_ids_are_for_close(run: Run, view: FakeView) -> None:
    view.open(user="ada", age=10)
    old = view.open(user="ada", age=4000)
    view.open(user="grace", age=4000)
    terminal = view.open(user="ada", age=4000, kind=Kind.TERMINAL)
    view.change(old, route="lab", kind="jupyter")

    assert run("sessions", "--user", "ada", "--min-age", "1h", "--ids")[1] == f"{old}\n{terminal}\n"
    asked = ("sessions", "--kind", "terminal", "--route", "terminal", "--min-age", "90")
    assert ids(run(*asked)[1]) == [terminal]
    assert run("sessions", "--min-idle", "24h", "--ids") == (0, "", "")


def test_it_is_told_who_holds_how_many(run: Run, view: FakeView) -> None:
    for user in ("ada", "grace", "ada", None, "ada", None):
        view.open(user=user)

    counted = "USER   SESSIONS\nada           3\n-             2\ngrace         1\n"
    assert run("sessions", "--count-by", "user") == (0, counted, "")


def test_a_users_name_cannot_draw_on_the_terminal(run: Run, view: FakeView) -> None:
    view.open(user="\x1b[2Jada\n")

    (line,) = run("sessions")[1].splitlines()[1:]

    assert "\\x1b[2Jada\\n" in line


def test_a_duration_that_is_none_is_named_with_what_is_allowed(run: Run) -> None:
    status, _, errors = run("sessions", "--min-idle", "1 day")

    assert status == 2
    assert "'--min-idle': found 1 day; allowed: a number of seconds, or a text such as" in errors


def test_close_closes_each_with_the_code_and_reason_that_were_given(run: Run, view: FakeView) -> None:
    first, second = view.open(), view.open()

    status, output, errors = run("close", first, second, "--code", "1012", "--reason", "back soon")

    assert (status, errors) == (0, "")
    assert output == f"{first}: 1012 back soon\n{second}: 1012 back soon\n"
    assert view.ended == [(first, 1012, "back soon"), (second, 1012, "back soon")]


def test_close_goes_on_after_one_that_is_not_there_and_ends_with_1(run: Run, view: FakeView) -> None:
    there = view.open()

    status, output, errors = run("close", "../drain", "ffff", there)

    assert status == 1
    assert output == f"{there}: 1008 Closed by an administrator\n"
    assert errors == (
        "../drain: There is no such session; it may have ended by itself.\n"
        "ffff: There is no such session; it may have ended by itself.\n"
    )
    assert not view.draining


def test_close_closes_all_that_pass_the_filters(run: Run, view: FakeView) -> None:
    view.open(user="ada", age=10)
    old, older = view.open(user="ada", age=4000), view.open(user="ada", age=8000)
    view.open(user="grace", age=4000)

    asked = ("close", "--user", "ada", "--min-age", "1h")
    assert run(*asked, "--code", "1012", "--reason", "good night") == (0, "2 sessions: 1012 good night\n", "")
    assert view.ended == [(old, 1012, "good night"), (older, 1012, "good night")]
    assert run("close", "--user", "nobody") == (0, "0 sessions: 1008 Closed by an administrator\n", "")


@pytest.mark.parametrize("arguments", [(), ("1c3", "--user", "ada")], ids=["neither", "both"])
def test_close_takes_either_ids_or_filters(run: Run, view: FakeView, arguments: tuple[str, ...]) -> None:
    view.open(user="ada")

    status, _, errors = run("close", *arguments)

    assert (status, view.ended) == (2, [])
    assert "Name either sessions by their ids, or at least one filter." in errors


def test_close_ends_with_1_where_a_forwarder_does_not_hear(run: Run, view: FakeView) -> None:
    view.open(user="ada")
    view.unheard = True

    status, _, errors = run("close", "--user", "ada")

    assert status == 1
    assert "Closed 0; 1 go on, whose forwarder cannot be reached just now. Try again." in errors


def test_a_bad_close_code_is_told_in_the_words_of_the_api(run: Run, view: FakeView) -> None:
    status, _, errors = run("close", view.open(), "--code", "1006")

    assert status == 1
    assert "code must be one of 1000, 1008, 1011, 1012, 1013, or from 3000 to 4999." in errors


def test_the_configuration_of_the_proxy_says_where_it_is(
    run: Run, view: FakeView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "bascule.yaml"
    whole: dict[str, Any] = {"admin": os.environ["BASCULE_ADMIN"], "routes": []}
    file.write_text(json.dumps(whole))
    monkeypatch.setenv("BASCULE_ADMIN", "127.0.0.1:1")

    status, _, errors = run("drain")
    assert (status, view.draining) == (1, False)
    assert errors == (
        "Error: 127.0.0.1:1: Connection refused (--config or --admin says which proxy is asked)\n"
    )
    monkeypatch.delenv("BASCULE_ADMIN")
    assert run("drain", "--config", str(file))[0] == 0
    assert view.draining


def test_a_file_that_the_proxy_could_not_load_again_still_says_where_it_is(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "bascule.yaml"
    broken = {"admin": os.environ["BASCULE_ADMIN"], "limits": {"handshakeTimeout": "soon"}, "rutes": []}
    file.write_text(json.dumps(broken))
    monkeypatch.delenv("BASCULE_ADMIN")
    monkeypatch.setenv("BASCULE_CONFIG", str(file))
    monkeypatch.setenv("BASCULE_NONSENSE", "1")

    assert run("sessions", "--ids") == (0, "", "")
    file.write_text(json.dumps({**broken, "adminToken": ""}))
    status, _, errors = run("sessions")
    assert (status, "adminToken" in errors, "limits" in errors) == (2, True, False)


def test_an_address_that_is_none_is_named_by_the_option(run: Run) -> None:
    status, _, errors = run("status", "--admin", "8081")

    assert status == 2
    assert errors.startswith('--admin: admin: found "8081"; allowed: "host:port"')
