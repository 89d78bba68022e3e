"""What the arguments of configurable-http-proxy become."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bascule.configuration.chp import (
    DEFAULTS,
    LOG_LEVELS,
    SWITCHES,
    TOKEN_VARIABLE,
    UNSUPPORTED,
    Where,
    arguments,
    defaults,
    overrides,
)
from bascule.configuration.endpoints import Endpoint
from bascule.configuration.loading import load
from bascule.errors import ConfigError

if TYPE_CHECKING:
    from bascule.configuration.config import Config

TOKEN = "a-token-nobody-guesses"


def said(**changes: Any) -> dict[str, object]:
    """Return what is set by the arguments of a bare command, but for those given here."""
    bare: dict[str, Any] = {
        "everywhere": "::", "redirect_port": None, "values": {}, "switches": (),
        "environ": {TOKEN_VARIABLE: TOKEN}, "unsupported": {},
    }  # fmt: skip
    public, api = (
        Where(*(changes.pop(f"{prefix}{name}", None) for name in Where._fields)) for prefix in ("", "api_")
    )
    return overrides(**{**bare, "public": public, "api": api, **changes})


def loaded(variables: dict[str, str] | None = None, **changes: Any) -> Config:
    otherwise = defaults(everywhere=changes.get("everywhere", "::"), port=changes.get("port"))
    return load(None, variables or {}, said(**changes), otherwise).config


def listeners(config: Config) -> list[Endpoint]:
    """Return where both listen, where that is TCP."""
    return [where for where in (config.listen, config.admin) if isinstance(where, Endpoint)]


def problems(**changes: Any) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        said(**changes)
    return list(refused.value.problems)


def test_a_bare_command_takes_routes_at_the_ports_jupyterhub_knows() -> None:
    assert said() == {"adminToken": TOKEN, "hub.enabled": True}
    config = loaded()
    assert (str(config.listen), str(config.admin)) == ("[::]:8000", "localhost:8001")


def test_what_it_sets_is_a_configuration_without_routes() -> None:
    config = loaded()

    assert (config.routes, config.hub.enabled, config.admin_token) == ((), True, TOKEN)
    assert (config.drain.timeout, config.drain.rate) == (5.0, 0)
    assert [str(network) for network in config.trusted_proxies] == ["0.0.0.0/0", "::/0", "unix:"]


@pytest.mark.parametrize(
    ("port", "api_port", "ports"),
    [
        (None, None, (8000, 8001)),
        (80, None, (80, 81)),
        (8000, None, (8000, 8001)),
        (None, 9000, (8000, 9000)),
        (80, 9000, (80, 9000)),
        (0, None, (0, 0)),
        (0, 9000, (0, 9000)),
        (65534, None, (65534, 65535)),
        (65535, 9000, (65535, 9000)),
        (80, 0, (80, 0)),
    ],
)
def test_without_a_port_the_api_is_one_above(
    port: int | None, api_port: int | None, ports: tuple[int, int]
) -> None:
    config = loaded(port=port, api_port=api_port)

    assert tuple(where.port for where in listeners(config)) == ports


@pytest.mark.parametrize("changes", [{}, {"api_ip": "10.0.0.1"}])
def test_the_last_port_needs_one_for_the_api(changes: dict[str, Any]) -> None:
    assert problems(port=65535, **changes) == [
        "--api-port: found nothing; allowed: a port, for none is one above --port 65535"
    ]


def test_a_port_that_is_none_is_told_of_itself_only() -> None:
    assert problems(port=65536) == ["--port: found 65536; allowed: a port, 0 to 65535"]
    assert problems(api_port=-1) == ["--api-port: found -1; allowed: a port, 0 to 65535"]
    assert problems(redirect_port=65536) == ["--redirect-port: found 65536; allowed: a port, 0 to 65535"]


def test_an_error_can_name_what_the_user_wrote() -> None:
    said = arguments(Where("10.0.0.1", 80), Where(socket="/run/api.sock"))
    assert (said["listen"], said["admin"]) == ("--ip, --port", "--api-socket")
    assert said["hub.hostRouting"] == "--host-routing"
    assert not {"listen", "admin"} & arguments(Where(), Where()).keys()


def test_a_socket_without_a_name_is_none() -> None:
    assert problems(api_socket="") == ['--api-socket: found ""; allowed: the path of a Unix socket']


@pytest.mark.parametrize(
    ("ip", "host"),
    [
        ("", "::"),
        ("*", "::"),
        ("0.0.0.0", "0.0.0.0"),
        ("10.0.0.1", "10.0.0.1"),
        ("proxy.svc", "proxy.svc"),
        ("::", "::"),
        ("[::1]", "::1"),
    ],
)
def test_an_address_is_read_for_both_listeners(ip: str, host: str) -> None:
    config = loaded(ip=ip, api_ip=ip)

    assert [where.host for where in listeners(config)] == [host, host]


LISTENERS = {"BASCULE_LISTEN": "127.0.0.1:9000", "BASCULE_ADMIN": "127.0.0.1:9001"}


@pytest.mark.parametrize(
    ("said", "listen", "admin"),
    [
        ({}, "127.0.0.1:9000", "127.0.0.1:9001"),
        ({"port": 80}, "[::]:80", "127.0.0.1:9001"),
        ({"ip": "10.0.0.1"}, "10.0.0.1:8000", "127.0.0.1:9001"),
        ({"api_port": 81}, "127.0.0.1:9000", "localhost:81"),
        ({"api_ip": ""}, "127.0.0.1:9000", "[::]:8001"),
    ],
)
def test_a_listener_that_no_argument_speaks_of_is_left_to_others(
    said: dict[str, Any], listen: str, admin: str
) -> None:
    config = loaded(LISTENERS, **said)

    assert (str(config.listen), str(config.admin)) == (listen, admin)


def test_a_socket_takes_the_place_of_address_and_port() -> None:
    config = loaded(socket="/run/proxy.sock", api_socket="/run/api.sock")
    assert (str(config.listen), str(config.admin)) == ("unix:/run/proxy.sock", "unix:/run/api.sock")
    config = loaded(port=65535, api_socket="/run/api.sock")
    assert (str(config.listen), str(config.admin)) == ("[::]:65535", "unix:/run/api.sock")
    assert str(loaded(socket="/run/proxy.sock").admin) == "localhost:8001"


@pytest.mark.parametrize(
    ("others", "told"),
    [
        (
            {"ip": "", "port": 8000},
            ["--socket: cannot be used with --ip", "--socket: cannot be used with --port"],
        ),
        ({"api_ip": "::"}, ["--api-socket: cannot be used with --api-ip"]),
        ({"api_port": 0}, ["--api-socket: cannot be used with --api-port"]),
    ],
)
def test_a_socket_and_an_address_are_two_answers_to_one_question(
    others: dict[str, Any], told: list[str]
) -> None:
    found = problems(socket="/run/proxy.sock", api_socket="/run/api.sock", **others)
    assert [problem.partition(";")[0] for problem in found] == told


def test_a_socket_that_cannot_be_one_is_told_of_itself_only() -> None:
    with pytest.raises(ConfigError) as refused:
        loaded(socket="/" + 107 * "s")
    (problem,) = refused.value.problems
    assert problem.startswith('command line: listen: found "unix:/sss')
    assert "at most 107 bytes" in problem


def test_switches_set_their_keys() -> None:
    hub = loaded(switches={"host-routing", "no-include-prefix", "no-prepend-path"}).hub

    assert (hub.host_routing, hub.include_prefix, hub.prepend_path) == (True, False, False)


def test_a_switch_that_is_not_there_leaves_its_key_to_others() -> None:
    variables = {
        "BASCULE_HUB__HOSTROUTING": "true",
        "BASCULE_HUB__INCLUDEPREFIX": "false",
        "BASCULE_HUB__PREPENDPATH": "false",
    }

    hub = loaded(variables).hub

    assert (hub.host_routing, hub.include_prefix, hub.prepend_path) == (True, False, False)


def test_values_set_their_keys_where_they_are_there() -> None:
    values = {"hub.defaultTarget": "http://hub:8081", "hub.errorTarget": None, "log.level": "warning"}

    config = loaded(values=values)

    assert (config.hub.default_target, config.hub.error_target) == ("http://hub:8081", None)
    assert config.log.level == "warning"
    assert "hub.errorTarget" not in said(values=values)


@pytest.mark.parametrize("level", LOG_LEVELS.values())
def test_every_level_is_one_of_ours(level: str) -> None:
    assert loaded(values={"log.level": level}).log.level == level


@pytest.mark.parametrize("environ", [{}, {TOKEN_VARIABLE: ""}, {"BASCULE_ADMINTOKEN": "x"}])
def test_without_a_token_nothing_is_set(environ: dict[str, str]) -> None:
    assert problems(environ=environ) == [
        "CONFIGPROXY_AUTH_TOKEN: found nothing; allowed: the API token in this variable"
    ]


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_is_not_done_here_is_refused_by_its_name(name: str) -> None:
    assert problems(unsupported={name: True}) == [f"--{name}: not supported: {UNSUPPORTED[name]}"]


@pytest.mark.parametrize(
    ("prefix", "key", "block"),
    [("ssl", "tls.clientCa", "tls"), ("api-ssl", "adminTls.clientCa", "admin_tls")],
)
def test_certificates_of_callers_are_asked_for_where_all_of_it_is_said(
    prefix: str, key: str, block: str
) -> None:
    pair = {f"{key.partition('.')[0]}.{name}": f"{name}.pem" for name in ("certificate", "key")}
    for more in ((), (f"{prefix}-reject-unauthorized",)):
        config = loaded(values={**pair, key: "ca.pem"}, switches={f"{prefix}-request-cert", *more})
        assert str(getattr(config, block).client_ca) == "ca.pem"


@pytest.mark.parametrize("prefix", ["ssl", "api-ssl"])
def test_half_of_the_arguments_for_certificates_of_callers_are_refused(prefix: str) -> None:
    key = {"ssl": "tls.clientCa", "api-ssl": "adminTls.clientCa"}[prefix]
    asks, rejects = f"{prefix}-request-cert", f"{prefix}-reject-unauthorized"

    assert problems(switches={asks, rejects}) == [
        f"--{asks}: needs --{prefix}-ca, by which certificates are checked"
    ]
    assert problems(switches={rejects}) == [f"--{rejects}: needs --{asks}, which asks for certificates"]
    (problem,) = problems(values={key: "ca.pem"})
    assert problem.startswith(f"--{prefix}-ca: needs --{asks}, which asks for certificates; intermediate ")
    assert problem.endswith(f"belong into the file of --{prefix}-cert")


def test_certificates_of_targets_are_checked_unless_it_is_insecure() -> None:
    assert loaded().upstream_tls.verify
    assert "upstreamTls.verify" not in said()
    assert not loaded(switches={"insecure"}).upstream_tls.verify


def test_all_that_is_wrong_is_told_at_once() -> None:
    unsupported = {"timeout": "5", "no-x-forward": True}

    assert [problem.partition(":")[0] for problem in problems(unsupported=unsupported, environ={})] == [
        "--timeout", "--no-x-forward", "CONFIGPROXY_AUTH_TOKEN",
    ]  # fmt: skip


def test_a_switch_is_one_of_those_that_are_not_done() -> None:
    assert set(UNSUPPORTED) >= SWITCHES


def test_the_text_says_what_there_is_instead_in_one_line() -> None:
    assert [text for text in UNSUPPORTED.values() if not text.isprintable() or text.endswith(".")] == []


@pytest.mark.parametrize("key", DEFAULTS)
def test_what_is_said_elsewhere_wins_over_a_default(key: str) -> None:
    other = {"drain.timeout": "9", "drain.rate": "3", "trustedProxies": "10.0.0.0/8"}[key]
    variable = "BASCULE_" + key.upper().replace(".", "__")

    sources = load(None, {variable: other}, said(), DEFAULTS).sources

    assert sources[key] == "environment"


@pytest.mark.parametrize("token", ["", " ", "\n"])
def test_a_token_that_nobody_could_send_is_none(token: str) -> None:
    (problem,) = problems(environ={TOKEN_VARIABLE: token})
    assert problem.startswith(f"{TOKEN_VARIABLE}: found nothing")


def test_without_ipv6_all_addresses_are_those_of_ipv4() -> None:
    assert str(loaded(everywhere="0.0.0.0").listen) == "0.0.0.0:8000"
    assert str(loaded(everywhere="0.0.0.0", ip="").listen) == "0.0.0.0:8000"


def test_a_port_that_redirects_is_at_the_public_address() -> None:
    values = {"tls.certificate": "c.pem", "tls.key": "k.pem", "tls.redirectPort": 443}
    config = loaded(ip="10.0.0.1", port=8443, redirect_port=8000, values=values)

    assert (str(config.tls.redirect_from), config.tls.redirect_port) == ("10.0.0.1:8000", 443)


def test_a_port_that_redirects_without_a_certificate_is_refused() -> None:
    with pytest.raises(ConfigError, match="https would not work"):
        loaded(redirect_port=80)
