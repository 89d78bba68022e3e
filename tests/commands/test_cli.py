"""The command line: what is printed, and the exit status."""

from __future__ import annotations

import errno
import json
import runpy
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import click
import pytest

from bascule import __version__, cli
from bascule.configuration.loading import Loaded, load
from bascule.configuration.publishedschema import published_schema
from tests.commands.commandline import Capture, refused, run

if TYPE_CHECKING:
    from pathlib import Path

ENDPOINT = '"host:port", "[::1]:port" or ":port" (all IPv4 addresses), port 0 to 65535; or "unix:/path"'

JAVA_INT = "a whole number from 1 to 2147483647"


def test_serve_with_an_upstream_is_one_route_on_this_machine_only(started: list[Loaded]) -> None:
    assert run("serve", "--upstream", "http://127.0.0.1:8888") == 7

    (loaded,) = started
    (route,) = loaded.config.routes
    assert (route.name, route.kind, route.path, route.upstream) == (
        "default",
        "app",
        "/",
        "http://127.0.0.1:8888",
    )
    assert str(loaded.config.listen) == "127.0.0.1:8080"
    assert (loaded.sources["listen"], loaded.sources["routes"]) == ("default", "flag")


def test_serve_without_anything_to_serve_says_how(capsys: Capture) -> None:
    (problem,) = refused(capsys, "serve")

    assert problem.startswith("nothing to serve: give --config FILE with routes, or --upstream URL")


def test_demo_runs_with_its_own_upstream(started: list[Loaded]) -> None:
    assert run("demo", "--max-sessions", "2") == 7

    (loaded,) = started
    assert loaded.config.websocket_proxy.max_sessions_per_app == 2


def test_a_bad_configuration_is_one_line_a_problem_and_nothing_else(capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "b.yaml"
    path.write_text("listen: x\nwebsocketProxy:\n  maxSessionPerApp: 1\n")

    assert refused(capsys, "check", "--config", str(path), "--max-sessions", "0") == [
        f'{path}:1: listen: found "x"; allowed: {ENDPOINT}',
        f'{path}:3: websocketProxy.maxSessionPerApp: unknown key; did you mean "maxSessionsPerApp"?',
        f"--max-sessions: websocketProxy.maxSessionsPerApp: found 0; allowed: {JAVA_INT}",
    ]


@pytest.mark.parametrize("command", ["serve", "check", "config print", "chp"])
def test_an_empty_name_of_a_file_is_told_of_whoever_said_it(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    allowed = 'found ""; allowed: the path of a file'
    assert refused(capsys, *command.split(), "--config", "") == [f"--config: {allowed}"]
    monkeypatch.setenv("BASCULE_CONFIG", "a.yaml::b.yaml")
    assert refused(capsys, *command.split()) == [f"BASCULE_CONFIG: {allowed}"]


def doubted(command: str, capsys: Capture, started: list[Loaded]) -> list[str]:
    """Return what a command doubts: what it has said, or what a proxy that serves says in its log."""
    said = capsys.readouterr().err.splitlines()
    if command == "check":
        return said
    assert not said, "before the log, and not in its form"
    return started.pop().doubts(1000)


@pytest.mark.parametrize("command", ["serve", "check"])
def test_routes_that_an_upstream_replaces_are_told(
    capsys: Capture, tmp_path: Path, started: list[Loaded], command: str
) -> None:
    path = tmp_path / "b.yaml"
    path.write_text("listen: :1\nroutes: [{name: a, path: /a, upstream: 'http://x'}]")

    run(command, "--config", str(path), "--upstream", "http://y")
    assert doubted(command, capsys, started) == [f"--upstream: replaces the routes of {path}:2"]
    run(command, "--config", str(path))
    assert doubted(command, capsys, started) == []


@pytest.mark.parametrize(
    "arguments", [("serve", "--max-sessions", "x"), ("nonsense",), ("serve", "--no-such-flag")]
)
def test_wrong_arguments_are_status_2(capsys: Capture, arguments: tuple[str, ...]) -> None:
    assert refused(capsys, *arguments)[0].startswith("Usage: bascule")


def test_a_file_that_may_not_be_read_is_told_on_one_line(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "b.yaml"
    file.write_text("")

    def denied(*_: object) -> None:
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr(type(file), "open", denied)  # file modes say nothing to root
    monkeypatch.setattr("os.access", lambda *_, **__: False)
    assert refused(capsys, "check", "--config", str(file)) == [
        f"{file}: the file cannot be read: Permission denied"
    ]


def test_a_hostile_file_name_stays_on_its_line(capsys: Capture) -> None:
    (problem,) = refused(capsys, "check", "--config", "a\nb\x1b[31m")

    assert problem.startswith("a\\nb\\x1b[31m: the file cannot be read")


def test_check_says_how_many_routes_there_are(capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "b.yaml"
    path.write_text("{}")

    assert run("check", "--config", str(path)) == 0
    assert run("check", "--upstream", "http://x") == 0
    assert capsys.readouterr().out.splitlines() == [
        "The configuration is good, but has no routes: serve needs one, or --upstream URL.",
        "The configuration is good: 1 route.",
    ]


def test_a_configuration_whose_routes_jupyterhub_adds_needs_none_of_its_own(
    capsys: Capture, tmp_path: Path, started: list[Loaded]
) -> None:
    # check said that serve needs a route, and serve started without one.
    path = tmp_path / "b.yaml"
    path.write_text("{hub: {enabled: true}, adminToken: hush}")

    assert run("check", "--config", str(path)) == 0
    assert capsys.readouterr().out == "The configuration is good: JupyterHub adds the routes.\n"
    assert run("serve", "--config", str(path)) == 7
    assert started[0].config.routes == ()


def test_a_jupyter_without_its_prefix_is_used_and_doubted(
    capsys: Capture, tmp_path: Path, started: list[Loaded]
) -> None:
    route = "{{name: {0}, kind: {0}, path: '{1}', upstream: 'http://x', stripPrefix: {2}}}"
    routes = [
        ("jupyter", "/lab/", "true"), ("app", "/app/", "true"), ("terminal", "/", "true"),
    ]  # fmt: skip
    path = tmp_path / "b.yaml"
    path.write_text(f"routes: [{', '.join(route.format(*each) for each in routes)}]")
    for command, status in (("check", 0), ("serve", 7)):
        assert run(command, "--config", str(path)) == status
        (line,) = doubted(command, capsys, started)
        assert line.startswith("routes[0].stripPrefix: ")
        assert "/lab/ as its base_url" in line
    path.write_text(f"routes: [{route.format('jupyter', '/lab/', 'false')}]")
    run("check", "--config", str(path))
    assert capsys.readouterr().err == ""


def test_check_names_the_files_it_has_not_read(capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "b.yaml"
    path.write_text("{adminTokenFile: /nowhere/token, tls: {certificate: c.pem, key: k.pem}}")

    assert run("check", "--config", str(path), "--upstream", "http://x") == 0
    assert capsys.readouterr().out.splitlines() == [
        "The configuration is good: 1 route.",
        "Not read: the files of adminTokenFile, tls.certificate, tls.key.",
    ]


def test_print_shows_sources_and_loads_again(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOSTNAME", "pod")
    assert run("config", "print", "--upstream", "http://x", "--log-level", "debug") == 0
    text = capsys.readouterr().out
    path = tmp_path / "printed.yaml"
    path.write_text(text)

    assert '  level: "debug"  # flag\n' in text
    assert '  name: "pod"  # environment\n' in text
    assert load(path, {}).config.routes[0].upstream == "http://x"


def test_print_masks_secrets(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASCULE_ADMINTOKEN", "hush")

    run("config", "print")

    out = capsys.readouterr().out
    assert "hush" not in out
    assert 'adminToken: "(set)"  # environment' in out


def test_schema_is_the_published_one(capsys: Capture) -> None:
    run("config", "schema")

    assert json.loads(capsys.readouterr().out) == published_schema()


@pytest.mark.parametrize("build", ["compiled", "pure"])
@pytest.mark.parametrize("arguments", [("--version",), ("chp", "--version"), ("chp", "-V")])
def test_the_version_tells_the_hot_path(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, build: str, arguments: tuple[str, ...]
) -> None:
    class Hot:
        @staticmethod
        def describe() -> str:
            return build

    monkeypatch.setitem(sys.modules, "bascule.forwarder.hot", Hot)

    assert run(*arguments) == 0
    assert capsys.readouterr().out == f"bascule {__version__} ({build} hot path)\n"


def test_the_version_is_told_without_a_forwarder(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bascule.forwarder.hot", None)

    assert run("--version") == 0
    assert "unknown hot path" in capsys.readouterr().out


def test_help_is_status_0(capsys: Capture) -> None:
    assert run("--help") == 0
    assert "serve" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--help"], ["config", "--help"]])
def test_no_command_is_described_by_half_a_sentence(capsys: Capture, arguments: list[str]) -> None:
    # click cuts what is too long for a line of 80 columns.
    assert run(*arguments) == 0
    commands = capsys.readouterr().out.partition("Commands:\n")[2].splitlines()
    assert len(commands) >= 2
    assert [line for line in commands if line.endswith("...")] == []


def test_the_help_of_the_demo_says_what_its_flag_needs(capsys: Capture) -> None:
    assert run("demo", "--help") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Only --jupyter needs JupyterLab and Streamlit" in said


@pytest.mark.parametrize("command", ["serve", "check", "config print"])
@pytest.mark.parametrize("option", ["--listen", "--admin"])
def test_help_says_how_an_address_is_written(capsys: Capture, command: str, option: str) -> None:
    assert run(*command.split(), "--help") == 0
    said = capsys.readouterr().out.partition(f"  {option} ADDRESS ")[2].partition("  --")[0]
    assert " ".join(said.split()).endswith(": HOST:PORT or unix:/PATH.")


def test_an_interrupt_is_told_to_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise click.Abort

    monkeypatch.setattr(cli.cli, "main", interrupted)

    assert run("check") == 130


def test_a_reader_that_leaves_is_no_traceback() -> None:
    command = f"{sys.executable} -m bascule config schema | head -c 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=60, check=False)

    assert (done.stdout, done.stderr) == (b"{", b"")


def test_a_reader_that_leaves_ends_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def nobody_reads(*_: Any, **__: Any) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(cli.cli, "main", nobody_reads)
    with (tmp_path / "out").open("w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert run("check") == 1
        out.write("lost")

    assert (tmp_path / "out").read_text() == ""


def test_importing_the_module_runs_nothing() -> None:
    runpy.run_module("bascule.__main__", run_name="imported")


def test_the_module_is_the_command() -> None:
    assert told("bascule --version").stdout.startswith(f"bascule {__version__} (")


def test_a_tool_of_the_demo_that_does_not_start_is_one_line(
    started: list[Loaded], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def late(_loaded: Loaded, _tools: object) -> int:
        raise TimeoutError("http://127.0.0.1:1/lab did not answer within 90 s")

    monkeypatch.setattr(sys.modules["bascule.demo.main"], "run", late)
    assert refused(capsys, "demo") == ["http://127.0.0.1:1/lab did not answer within 90 s"]


WRITES = (
    "config schema", "config print", "check --upstream http://x", "--version", "--help", "serve --help",
    "config --help", "chp --version", "chp --help",
)  # fmt: skip


def told(command: str) -> subprocess.CompletedProcess[str]:
    """Run a command line of the shell in which the program is ``bascule``."""
    line = command.replace("bascule", f"{sys.executable} -m bascule", 1)
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("arguments", WRITES)
def test_an_output_that_cannot_be_written_is_one_line(arguments: str) -> None:
    done = told(f"bascule {arguments} >/dev/full")
    assert (done.returncode, done.stderr) == (1, "Error: cannot write: No space left on device\n")


@pytest.mark.parametrize("arguments", ["check --upstream http://x", "--version", "--help"])
def test_a_closed_output_is_one_line(arguments: str) -> None:
    done = told(f"bascule {arguments} >&-")
    assert (done.returncode, done.stderr) == (1, "Error: cannot write: Bad file descriptor\n")


@pytest.mark.parametrize("arguments", ["check --kind app", "check --no-such", "nonsense", "serve"])
@pytest.mark.parametrize("output", ["2>/dev/full", "2>&-"])
def test_what_cannot_be_told_is_left_to_the_exit_status(arguments: str, output: str) -> None:
    assert told(f"bascule {arguments} {output}").returncode == 2
