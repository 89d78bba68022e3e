"""The flags that set keys, and what is told of those that cannot be used."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from bascule.errors import ConfigError
from tests.commands.commandline import Capture, refused, run

if TYPE_CHECKING:
    from pathlib import Path

    from bascule.configuration.loading import Loaded

ENDPOINT = '"host:port", "[::1]:port" or ":port" (all IPv4 addresses), port 0 to 65535; or "unix:/path"'

JAVA_INT = "a whole number from 1 to 2147483647"


def test_every_flag_sets_its_key(started: list[Loaded]) -> None:
    run(
        *("serve", "--upstream", "http://x", "--kind", "jupyter", "--listen", ":1", "--admin", ":2"),
        *("--max-sessions", "3", "--forwarders", "4", "--log-level", "debug", "--log-format", "json"),
    )

    config = started[0].config
    assert (str(config.listen), str(config.admin)) == ("0.0.0.0:1", "0.0.0.0:2")
    assert config.websocket_proxy.max_sessions_per_app == 3
    assert (config.forwarders.count, config.log.level, config.log.format) == (4, "debug", "json")
    assert config.routes[0].kind == "jupyter"


def test_a_file_decides_where_to_listen(
    started: list[Loaded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "b.yaml"
    path.write_text("admin: 127.0.0.1:9\nroutes: [{name: a, path: /a, upstream: 'http://x'}]")
    monkeypatch.setenv("BASCULE_DRAIN__RATE", "3")

    run("serve", "--config", str(path))
    monkeypatch.setenv("BASCULE_CONFIG", str(path))
    run("serve", "--upstream", "http://y")

    assert [str(loaded.config.listen) for loaded in started] == ["0.0.0.0:8080", "0.0.0.0:8080"]
    assert [loaded.config.routes[0].name for loaded in started] == ["a", "default"]
    assert [loaded.config.drain.rate for loaded in started] == [3, 3]


def test_the_environment_wins_over_the_loopback_of_a_bare_upstream(
    started: list[Loaded], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASCULE_LISTEN", ":5")

    run("serve", "--upstream", "http://y")

    assert str(started[0].config.listen) == "0.0.0.0:5"


@pytest.mark.parametrize(
    ("arguments", "begins"),
    [
        (("--listen", "x"), "--listen: listen: found "),
        (("--admin", "x"), "--admin: admin: found "),
        (("--max-sessions", "0"), "--max-sessions: websocketProxy.maxSessionsPerApp: found 0; "),
        (("--forwarders", "0"), "--forwarders: forwarders.count: found 0; "),
    ],
)
def test_an_error_about_a_flag_names_it(capsys: Capture, arguments: tuple[str, ...], begins: str) -> None:
    (told,) = refused(capsys, "check", "--upstream", "http://x", *arguments)
    assert told.startswith(begins)


@pytest.mark.parametrize("command", ["serve", "check"])
def test_every_flag_is_checked_like_its_key(capsys: Capture, command: str) -> None:
    assert refused(capsys, command, "--upstream", "ftp://x", "--kind", "lab", "--listen", "x") == [
        f'--listen: listen: found "x"; allowed: {ENDPOINT}',
        '--kind: found "lab"; allowed: "jupyter", "terminal" or "app"',
    ]


@pytest.mark.parametrize(
    ("upstream", "hint"),
    [
        ("localhost:8888", "; did you mean http://localhost:8888?"),
        ("lab", "; did you mean http://lab?"),
        ("8888", "; did you mean http://127.0.0.1:8888?"),
        (":8888", "; did you mean http://127.0.0.1:8888?"),
        ("http://localhost:8888/lab?token=x", "; did you mean http://localhost:8888?"),
        ("127.0.0.1:8501/app", "; did you mean http://127.0.0.1:8501?"),
        ("ws://lab:1", "; did you mean http://lab:1?"),
        ("wss://lab/x", "; did you mean https://lab?"),
        ("http://ada:x@lab", ""),
        ("0", ""),
        ("88888", ""),
        ("ftp://x", ""),
        ("x y:1", ""),
    ],
)
def test_an_upstream_that_cannot_be_one_is_the_flags_fault(capsys: Capture, upstream: str, hint: str) -> None:
    (problem,) = refused(capsys, "check", "--upstream", upstream)

    shown = upstream.replace("token=x", "***").replace("ada:x@", "***@")
    assert problem.startswith(f'--upstream: found "{shown}"; allowed: "http://host:port"')
    assert problem.endswith('"http+unix://%2Frun%2Fapp.sock"' + hint)


def test_a_port_that_there_cannot_be_is_told_as_a_range_alone(capsys: Capture) -> None:
    assert refused(capsys, "check", "--upstream", "http://lab:99999") == [
        '--upstream: found "http://lab:99999"; allowed: a port from 1 to 65535'
    ]


def test_a_default_that_does_not_fit_is_not_taken_for_a_flag(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASCULE_ADMIN", "127.0.0.1:8080")
    (problem,) = refused(capsys, "check", "--upstream", "http://lab:1")
    assert problem.startswith('BASCULE_ADMIN: admin: found "127.0.0.1:8080"')


def test_demo_names_the_flag_that_it_cannot_use(capsys: Capture) -> None:
    assert refused(capsys, "demo", "--max-sessions", "0") == [
        f"--max-sessions: websocketProxy.maxSessionsPerApp: found 0; allowed: {JAVA_INT}"
    ]


@pytest.mark.parametrize("command", ["serve", "check", "config print"])
def test_a_second_upstream_is_refused_and_not_preferred(capsys: Capture, command: str) -> None:
    assert refused(capsys, *command.split(), "--upstream", "http://x", "--upstream", "http://y") == [
        "--upstream: may be given once; several routes go in a file, for --config FILE"
    ]


def test_kind_needs_an_upstream(capsys: Capture) -> None:
    assert refused(capsys, "check", "--kind", "app") == [
        "--kind: needs --upstream; in a file each route has its kind"
    ]


def test_a_default_address_that_is_taken_names_the_flag_for_another(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = "admin: cannot listen on 127.0.0.1:8081: Address already in use"

    class Taken:
        @staticmethod
        def run(*_: object, **__: object) -> int:
            raise ConfigError([taken, f"b.yaml:1: {taken}"])

    monkeypatch.setitem(sys.modules, "bascule.supervisor.main", Taken)

    assert refused(capsys, "serve", "--upstream", "http://x") == [
        f"{taken}; --admin chooses another address",
        f"b.yaml:1: {taken}",
    ]
