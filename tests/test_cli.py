"""The command line: what is printed, and the exit status."""

from __future__ import annotations

import errno
import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from bascule import __version__, cli
from bascule.policy.chp import LOG_LEVELS, SWITCHES, UNSUPPORTED
from bascule.policy.config import AdminTls, UpstreamTls
from bascule.policy.loading import Loaded, load
from bascule.policy.publishedschema import published_schema

if TYPE_CHECKING:
    from collections.abc import Callable

Capture = pytest.CaptureFixture[str]
ENDPOINT = '"host:port", "[::1]:port" or ":port" (all IPv4 addresses), port 0 to 65535; or "unix:/path"'

JAVA_INT = "a whole number from 1 to 2147483647"

ALL = "[::]" if Path("/proc/net/if_inet6").exists() else "0.0.0.0"
"""What chp takes for all addresses on this host."""


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.upper().startswith(("BASCULE_", "CONFIGPROXY_")):
            monkeypatch.delenv(name)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Loaded]:
    """Stand in for the supervisor and the demo; collects what they are started with."""
    calls: list[Loaded] = []

    class Module:
        @staticmethod
        def run(loaded: Loaded, tools: object = None, load: object = None, patience: float = 0.0) -> int:
            calls.append(loaded)
            return 7

    monkeypatch.setitem(sys.modules, "bascule.supervisor.main", Module)
    monkeypatch.setitem(sys.modules, "bascule.demo.main", Module)
    return calls


def run(*arguments: str) -> int:
    """Return the exit status of a command line."""
    try:
        cli.main(list(arguments))
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0  # what the interpreter makes of a main that returns


def refused(capsys: Capture, *arguments: str) -> list[str]:
    """Run a command that must exit with 2 and print nothing but its problems."""
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


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
        f"--max-sessions: websocketProxy.maxSessionsPerApp: found 0; allowed: {JAVA_INT}",
        f'{path}:3: websocketProxy.maxSessionPerApp: unknown key; did you mean "maxSessionsPerApp"?',
    ]


@pytest.mark.parametrize("command", ["serve", "check", "config print", "chp"])
def test_an_empty_name_of_a_file_is_told_of_whoever_said_it(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    allowed = 'found ""; allowed: the path of a file'
    assert refused(capsys, *command.split(), "--config", "") == [f"--config: {allowed}"]
    monkeypatch.setenv("BASCULE_CONFIG", "a.yaml::b.yaml")
    assert refused(capsys, *command.split()) == [f"BASCULE_CONFIG: {allowed}"]


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


def test_kind_needs_an_upstream(capsys: Capture) -> None:
    assert refused(capsys, "check", "--kind", "app") == [
        "--kind: needs --upstream; in a file each route has its kind"
    ]


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
    assert "Nothing else is needed, except for --jupyter: JupyterLab and Streamlit" in said


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


# -- chp --------------------------------------------------------------------------------------------------


@pytest.fixture
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFIGPROXY_AUTH_TOKEN", "hush")


@pytest.mark.usefixtures("_token")
def test_chp_is_started_as_jupyterhub_starts_its_proxy(started: list[Loaded]) -> None:
    arguments = ("--ip", "", "--port", "8010", "--api-ip", "127.0.0.1", "--api-port", "8011")

    assert run("chp", *arguments, "--error-target", "http://127.0.0.1:8081/hub/error") == 7

    (loaded,) = started
    config = loaded.config
    assert (str(config.listen), str(config.admin)) == (f"{ALL}:8010", "127.0.0.1:8011")
    assert (config.admin_token, config.hub.enabled, config.routes) == ("hush", True, ())
    assert config.hub.error_target == "http://127.0.0.1:8081/hub/error"
    assert (loaded.sources["drain.timeout"], loaded.sources["listen"]) == ("default", "flag")


@pytest.mark.usefixtures("_token")
def test_every_argument_of_chp_sets_its_key(started: list[Loaded]) -> None:
    run(
        *("chp", "--ip", "*", "--port", "1", "--api-ip", "::1", "--ssl-key", "k.pem", "--ssl-cert", "c.pem"),
        *("--default-target", "http://hub:1/x", "--error-target", "https://hub:2", "--log-level", "warn"),
        *("--host-routing", "--no-include-prefix", "--no-prepend-path"),
    )

    config = started[0].config
    hub = config.hub
    assert (str(config.listen), str(config.admin), config.log.level) == (f"{ALL}:1", "[::1]:2", "warning")
    assert (str(config.tls.key), str(config.tls.certificate)) == ("k.pem", "c.pem")
    assert (hub.default_target, hub.error_target) == ("http://hub:1/x", "https://hub:2")
    assert (hub.host_routing, hub.include_prefix, hub.prepend_path) == (True, False, False)


@pytest.mark.usefixtures("_token")
def test_chp_is_started_as_jupyterhub_starts_it_with_internal_ssl(started: list[Loaded]) -> None:
    run(
        "chp",
        *("--api-ssl-key", "ak.pem", "--api-ssl-cert", "ac.pem", "--api-ssl-ca", "aca.pem"),
        *("--api-ssl-request-cert", "--api-ssl-reject-unauthorized"),
        *("--client-ssl-key", "ck.pem", "--client-ssl-cert", "cc.pem", "--client-ssl-ca", "cca.pem"),
        *("--client-ssl-request-cert", "--client-ssl-reject-unauthorized"),
    )

    config = started[0].config
    assert config.admin_tls == AdminTls(
        certificate=Path("ac.pem"), key=Path("ak.pem"), client_ca=Path("aca.pem")
    )
    assert config.upstream_tls == UpstreamTls(
        certificate=Path("cc.pem"), key=Path("ck.pem"), ca=Path("cca.pem"), verify=True
    )


@pytest.mark.usefixtures("_token")
def test_the_other_arguments_of_chp_about_tls_set_their_keys(started: list[Loaded]) -> None:
    run(
        *("chp", "--ssl-key", "k.pem", "--ssl-cert", "c.pem", "--ssl-ca", "ca.pem", "--ssl-request-cert"),
        *("--ssl-reject-unauthorized", "--insecure"),
    )

    config = started[0].config
    assert (str(config.tls.client_ca), config.upstream_tls.verify) == ("ca.pem", False)


@pytest.mark.usefixtures("_token")
def test_without_arguments_chp_is_at_the_ports_jupyterhub_knows(started: list[Loaded]) -> None:
    run("chp")

    config = started[0].config
    assert (str(config.listen), str(config.admin)) == (f"{ALL}:8000", "localhost:8001")
    assert (config.hub.host_routing, config.hub.include_prefix, config.hub.prepend_path) == (
        False,
        True,
        True,
    )


@pytest.mark.usefixtures("_token")
@pytest.mark.parametrize("level", LOG_LEVELS)
def test_chp_knows_the_levels_of_the_other_proxy(started: list[Loaded], level: str) -> None:
    run("chp", "--log-level", level)
    run("chp", f"--log-level={level.upper()}")

    assert [each.config.log.level for each in started] == [LOG_LEVELS[level]] * 2


@pytest.mark.usefixtures("_token")
def test_a_file_of_chp_says_what_no_argument_does(
    started: list[Loaded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "b.yaml"
    path.write_text("{listen: ':9', drain: {timeout: 60}, websocketProxy: {maxSessionsPerApp: 3}}")
    monkeypatch.setenv("BASCULE_CONFIG", str(path))

    run("chp", "--port", "8010")

    config = started[0].config
    assert str(config.listen).endswith(":8010")
    assert config.websocket_proxy.max_sessions_per_app == 3
    assert (config.drain.timeout, config.drain.rate) == (60.0, 0)


@pytest.mark.usefixtures("_token")
def test_chp_reads_its_file_and_its_token_again(
    started: list[Loaded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "b.yaml"
    path.write_text("log: {format: json}")

    def reloaded(_loaded: Loaded, load: Callable[[], Loaded], patience: float) -> int:
        assert patience > 5.0, "a proxy that leaves has as long"
        path.write_text("log: {format: console}")
        monkeypatch.setenv("CONFIGPROXY_AUTH_TOKEN", "another")
        started.append(load())
        return 0

    monkeypatch.setattr(sys.modules["bascule.supervisor.main"], "run", reloaded)

    assert run("chp", "--port", "8010", "--config", str(path)) == 0
    config = started[0].config
    assert (config.log.format, config.admin_token) == ("console", "another")
    assert str(config.listen).endswith(":8010")


def test_chp_without_a_token_is_one_line(capsys: Capture) -> None:
    assert refused(capsys, "chp", "--port", "8010") == [
        "CONFIGPROXY_AUTH_TOKEN: found nothing; allowed: the API token in this variable"
    ]


@pytest.mark.usefixtures("_token")
@pytest.mark.parametrize("name", UNSUPPORTED)
def test_chp_knows_every_argument_that_it_cannot_heed(capsys: Capture, name: str) -> None:
    value = ["x"] * (name not in SWITCHES)

    assert refused(capsys, "chp", f"--{name}", *value) == [f"--{name}: not supported: {UNSUPPORTED[name]}"]


def test_chp_tells_all_that_it_cannot_heed_at_once(capsys: Capture) -> None:
    told = refused(capsys, "chp", "--no-x-forward", "--timeout", "5", "--storage-backend", "redis")

    assert sorted(line.partition(":")[0] for line in told) == [
        "--no-x-forward", "--storage-backend", "--timeout", "CONFIGPROXY_AUTH_TOKEN",
    ]  # fmt: skip


@pytest.mark.usefixtures("_token")
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--error-target", "ftp://x"), "--error-target: hub.errorTarget: found "),
        (("--default-target", "http://x?y"), "--default-target: hub.defaultTarget: found "),
        (("--port", "65536"), "--port: found 65536; allowed: a port, 0 to 65535"),
        (("--api-port", "-1"), "--api-port: found -1; allowed: a port, 0 to 65535"),
        (("--redirect-port", "65536"), "--redirect-port: found 65536; allowed: a port, 0 to 65535"),
        (("--redirect-port", "80"), "--redirect-port: tls.redirectFrom: found "),
        (("--redirect-to", "65536"), "--redirect-to: tls.redirectPort: found 65536; allowed: "),
        (("--ip", "a b"), "--ip: listen: found "),
        (("--ip", "a b", "--port", "80"), "--ip, --port: listen: found "),
        (("--api-port", "8000"), "--api-port: admin: found "),
        (("--api-ip", "a b"), "--api-ip: admin: found "),
        (("--socket", ""), '--socket: found ""; allowed: the path of a Unix socket'),
        (("--api-socket", "/" + 107 * "s"), '--api-socket: admin: found "unix:/sss'),
        (("--ssl-key", ""), '--ssl-key: tls.key: found ""; allowed: '),
        (("--ssl-key", "k"), "--ssl-cert: tls.certificate: missing; needed: "),
        (("--client-ssl-cert", "c"), "--client-ssl-key: upstreamTls.key: missing; needed: "),
        (("--config", ""), '--config: found ""; allowed: the path of a file'),
    ],
)
def test_an_error_about_an_argument_of_chp_names_it(
    capsys: Capture, arguments: tuple[str, ...], problem: str
) -> None:
    (told,) = refused(capsys, "chp", *arguments)
    assert told.startswith(problem)


@pytest.mark.usefixtures("_token")
def test_chp_at_the_last_port_asks_for_a_port_of_the_api(capsys: Capture) -> None:
    assert refused(capsys, "chp", "--port", "65535") == [
        "--api-port: found nothing; allowed: a port, for none is one above --port 65535"
    ]


@pytest.mark.parametrize("arguments", [("--port", "x"), ("--log-level", "warning"), ("--no-such",), ("x",)])
def test_wrong_arguments_of_chp_are_status_2(capsys: Capture, arguments: tuple[str, ...]) -> None:
    assert refused(capsys, "chp", *arguments)[0].startswith("Usage: bascule chp")


def test_the_help_of_chp_shows_what_it_heeds_only(capsys: Capture) -> None:
    assert run("chp", "--help") == 0

    out = capsys.readouterr().out
    assert "--error-target" in out
    assert [name for name in UNSUPPORTED if f"--{name} " in out] == []


@pytest.mark.usefixtures("_token")
def test_sockets_of_chp_are_the_same_wherever_they_are_read(
    started: list[Loaded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    run("chp", "--socket", "proxy.sock", "--api-socket", "/run/api.sock")

    config = started[0].config
    assert (str(config.listen), str(config.admin)) == (f"unix:{Path.cwd()}/proxy.sock", "unix:/run/api.sock")
