"""`bascule chp`: the arguments of configurable-http-proxy."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bascule.configuration.chp import LOG_LEVELS, SWITCHES, UNSUPPORTED
from bascule.configuration.config import AdminTls, UpstreamTls
from tests.commands.commandline import Capture, refused, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from bascule.configuration.loading import Loaded

ALL = "[::]" if Path("/proc/net/if_inet6").exists() else "0.0.0.0"
"""What chp takes for all addresses on this host."""


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
