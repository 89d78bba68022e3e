"""The loader: which source wins, and what is said about a configuration that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bascule.configuration.config import Config, Endpoint
from bascule.configuration.loading import check_files, load, load_some, placed
from bascule.errors import ConfigError
from tests.configuration.loader import problems, set_by

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
ROUTE = "routes: [{name: a, path: /, upstream: 'http://x'}]\n"


def test_without_anything_there_are_the_defaults() -> None:
    loaded = load(None, {})

    assert loaded.config == Config()
    assert set_by(loaded) == {}
    assert loaded.sources["websocketProxy.maxSessionsPerApp"] == "default"
    assert loaded.sources["auth.session.cookie"] == "default"


def test_flags_win_over_the_environment_which_wins_over_the_file(file: Callable[..., Path]) -> None:
    path = file("listen: :1\nadmin: :11\ndrain: {rate: 1, timeout: 1s, naturalEnd: 1s}\nlog: {level: error}")
    environ = {"BASCULE_DRAIN__RATE": "2", "BASCULE_DRAIN__TIMEOUT": "2s", "BASCULE_LISTEN": ":2"}

    loaded = load(path, environ, {"listen": ":3", "drain.rate": 3})

    assert (str(loaded.config.listen), str(loaded.config.admin)) == ("0.0.0.0:3", "0.0.0.0:11")
    assert (loaded.config.drain.rate, loaded.config.drain.timeout, loaded.config.drain.natural_end) == (
        3,
        2,
        1,
    )
    assert set_by(loaded) == {
        "listen": "flag",
        "admin": "file",
        "drain.rate": "flag",
        "drain.timeout": "environment",
        "drain.naturalEnd": "file",
        "log.level": "file",
    }


def test_of_several_files_the_later_wins_key_by_key_and_lists_as_a_whole(file: Callable[..., Path]) -> None:
    first = file(ROUTE + "drain: {rate: 1, timeout: 10s}", "first.yaml")
    second = file("drain: {rate: 2}\nroutes: [{name: b, path: /b, upstream: 'http://y'}]", "second.yaml")

    config = load([first, second], {}).config

    assert (config.drain.rate, config.drain.timeout) == (2, 10)
    assert [route.name for route in config.routes] == ["b"]


def test_a_command_may_prefer_another_default(file: Callable[..., Path]) -> None:
    preferred = {"listen": "127.0.0.1:8080"}

    assert load(None, {}, None, preferred).config.listen == Endpoint("127.0.0.1", 8080)
    assert load(None, {}, None, preferred).sources["listen"] == "default"
    assert str(load(file("listen: :9"), {}, None, preferred).config.listen) == "0.0.0.0:9"


def _bad_files() -> dict[str, list[str]]:
    _, *cases = (HERE / "bad_files.txt").read_text(encoding="utf-8").split("=====\n")
    return {text: said.splitlines() for text, said in (case.split("-----\n") for case in cases)}


BAD_FILES = _bad_files()


@pytest.mark.parametrize("text", BAD_FILES)
def test_every_problem_of_a_bad_file_is_told_with_its_place(file: Callable[..., Path], text: str) -> None:
    assert problems(file(text), {"HOSTNAME": "pod"}) == BAD_FILES[text]


def test_a_problem_of_a_list_that_replaces_a_files_names_the_variable(file: Callable[..., Path]) -> None:
    path = file("routes: [{name: b, path: /, upstream: 'http://x'}]")
    said = problems(path, {"BASCULE_ROUTES": "[{name: a}]"})
    assert [line.partition(" ")[0] for line in said] == ["BASCULE_ROUTES:"] * 2


def test_what_a_route_leaves_out_is_a_default(file: Callable[..., Path]) -> None:
    loaded = load(file("routes: [{name: a, path: /, upstream: 'http://a', auth: none}]"), {})
    of_routes = {key: source for key, source in loaded.sources.items() if key.startswith("routes")}
    left_out = (
        "kind", "stripPrefix", "where", "allowedOrigins", "requiredClaims", "audiences",
        "incomingBufferBytes", "maxSessions", "rejectMode",
    )  # fmt: skip
    assert of_routes == {"routes": "file", **{f"routes[0].{key}": "default" for key in left_out}}

    other = load(None, {}, {"routes": [{"name": "b", "path": "/", "upstream": "http://b", "kind": "app"}]})
    moved = loaded.with_routes_of(other.config)
    assert moved.sources["routes"] == "flag"
    assert "routes[0].kind" not in moved.sources
    assert moved.sources["routes[0].auth"] == "default"


def test_the_host_name_names_the_pod_unless_something_else_does(file: Callable[..., Path]) -> None:
    loaded = load(None, {"HOSTNAME": "pod-1"})

    assert loaded.config.capacity.name == "pod-1"
    assert loaded.sources["capacity.name"] == "environment"
    assert load(file("capacity: {name: here}"), {"HOSTNAME": "pod-1"}).config.capacity.name == "here"
    assert (
        load(file("capacity: {cacheFor: 1s}"), {"HOSTNAME": "pod-1"}).sources["capacity.cacheFor"] == "file"
    )
    assert problems(None, {"HOSTNAME": "x" * 254}) == [
        f'HOSTNAME: capacity.name: found "{"x" * 58}…; allowed: text of 1 to 253 characters, or null'
    ]


def test_routes_that_the_command_line_replaces_are_told_with_where_they_are(
    file: Callable[..., Path],
) -> None:
    path, environ = (
        file("listen: :1\n" + ROUTE),
        {"BASCULE_ROUTES": "[{name: b, path: /, upstream: 'http://y'}]"},
    )
    flag: dict[str, object] = {"routes": [{"name": "c", "path": "/", "upstream": "http://z"}]}

    assert load(path, environ, flag).replaced == ("b.yaml:2", "BASCULE_ROUTES")
    assert load(path, environ, flag).doubts(1000) == [
        "--upstream: replaces the routes of b.yaml:2, BASCULE_ROUTES"
    ]
    assert load(path, environ).replaced == ()
    assert load(path, environ).doubts(1000) == []
    assert load(file("routes: []", "none.yaml"), {}, flag).replaced == ()


def test_problems_of_several_sources_are_told_together(file: Callable[..., Path]) -> None:
    assert problems(file("xyzzy: 1"), {"BASCULE_XYZZY": "2"}, {"drain.rate": -1}) == [
        "BASCULE_XYZZY: no such key",
        "b.yaml:1: xyzzy: unknown key",
        "command line: drain.rate: found -1; allowed: a number of at least 0",
    ]


def test_every_file_that_cannot_be_read_is_told_with_its_key(tmp_path: Path) -> None:
    key = tmp_path / "key"
    config = Config.model_validate(
        {
            "adminTokenFile": str(tmp_path),
            "auth": {"session": {"keyFile": str(key)}},
            "tls": {"certificate": __file__, "key": __file__},
        }
    )
    with pytest.raises(ConfigError) as caught:
        check_files(config)
    allowed = "a regular file of at most 4 MiB"
    assert sorted(caught.value.problems) == [
        f"adminTokenFile: Is a directory: {tmp_path}; allowed: {allowed}",
        f"auth.session.keyFile: No such file or directory: {key}; allowed: {allowed}",
    ]
    check_files(Config())


def test_some_keys_are_read_whatever_is_wrong_with_others(tmp_path: Path) -> None:
    file = tmp_path / "b.yaml"
    file.write_text("admin: :9\nadminToken: abc\nlimits: {handshakeTimeout: soon}\nroute: []")
    environ = {
        "BASCULE_ADMINTOKEN": "def",
        "BASCULE_DRAIN__RATE": "fast",
        "BASCULE_X": "1",
        "HOSTNAME": "pod",
    }

    config = load_some(("admin", "adminToken"), [file], environ, {"admin": ":10"}, {})

    assert config == Config(admin=Endpoint("0.0.0.0", 10), admin_token="def")
    with pytest.raises(ConfigError) as found:
        load_some(("admin", "limits"), [file], environ, {"admin": "10"}, {"admin": "--admin"})
    problems = found.value.problems
    assert [problem.partition(": found")[0] for problem in problems] == [
        f"{file}:3: limits.handshakeTimeout",
        "--admin: admin",
    ]


def test_what_is_wrong_with_a_key_only_when_it_is_used_is_told_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "b.yaml"
    file.write_text("listen: :9\ntls:\n  certificate: /a\n  key: /b")
    loaded = load([file], {"BASCULE_ADMIN": ":8"}, {"listen": ":1"}, arguments={"listen": "--listen"})

    problems = [
        "listen: taken",
        "tls.certificate: no such file",
        "admin: taken",
        "sockets: not here",
        "an odd one",
    ]

    assert placed(problems, loaded.places) == [
        "--listen: listen: taken",
        f"{file}:3: tls.certificate: no such file",
        "BASCULE_ADMIN: admin: taken",
        "sockets: not here",
        "an odd one",
    ]
