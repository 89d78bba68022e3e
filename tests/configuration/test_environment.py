"""The variables that set keys, and those that only look like it."""

from __future__ import annotations

import pytest

from bascule.configuration.config import Config, Endpoint
from bascule.configuration.loading import load
from tests.configuration.loader import problems

ENDPOINT = '"host:port", "[::1]:port" or ":port" (all IPv4 addresses), port 0 to 65535; or "unix:/path"'
NETWORK = 'a network such as "10.0.0.0/8" (no bits set behind the mask) or an address; or "unix:"'


BAD_VARIABLES = {
    ("BASCULE_LISTEN", "x"): [f'BASCULE_LISTEN: listen: found "x"; allowed: {ENDPOINT}'],
    ("BASCULE_LISTN", "x"): ["BASCULE_LISTN: no such key; did you mean BASCULE_LISTEN?"],
    ("BASCULE_MAXSESSIONSPERAPP", "5"): [
        "BASCULE_MAXSESSIONSPERAPP: no such key; did you mean BASCULE_WEBSOCKETPROXY__MAXSESSIONSPERAPP?"
    ],
    ("BASCULE_DRAIN_RATE", "5"): ["BASCULE_DRAIN_RATE: no such key; did you mean BASCULE_DRAIN__RATE?"],
    ("BASCULE_DRAIN__RAT", "5"): ["BASCULE_DRAIN__RAT: no such key; did you mean BASCULE_DRAIN__RATE?"],
    ("BASCULE_DRAIN", "5"): ["BASCULE_DRAIN: drain: a block of keys; set its keys one by one"],
    ("BASCULE_XYZZY__FOO", "5"): ["BASCULE_XYZZY__FOO: no such key"],
    ("BASCULE_DRAIN__RATE", "*a"): [
        (
            "BASCULE_DRAIN__RATE: drain.rate: not YAML, at character 1: found undefined alias 'a'; "
            "text that begins with * needs quotes"
        )
    ],
    ("BASCULE_DRAIN__RATE", "fast"): [
        'BASCULE_DRAIN__RATE: drain.rate: found "fast"; allowed: a number of at least 0'
    ],
    ("BASCULE_ADMINTOKEN", " \n"): [
        "BASCULE_ADMINTOKEN: adminToken: found an empty secret; allowed: text with a token in it, or null"
    ],
    ("BASCULE_ROUTES", "[{name: a}]"): [
        'BASCULE_ROUTES: routes[0].path: missing; needed: a path that starts with "/"',
        (
            'BASCULE_ROUTES: routes[0].upstream: missing; needed: "http://host:port", "https://host:port"'
            ' or "http+unix://%2Frun%2Fapp.sock"'
        ),
    ],
    ("BASCULE_TRUSTEDPROXIES", "::1,x"): [
        f'BASCULE_TRUSTEDPROXIES: trustedProxies[1]: found "x"; allowed: {NETWORK}'
    ],
}


@pytest.mark.parametrize("variable", BAD_VARIABLES)
def test_every_problem_of_the_environment_names_the_variable(variable: tuple[str, str]) -> None:
    assert problems(None, dict([variable])) == BAD_VARIABLES[variable]


def test_variables_are_read_in_any_case_and_in_the_type_of_their_key() -> None:
    config = load(
        None,
        {
            "bascule_webSocketProxy__maxSessionsPerApp": "7",
            "BASCULE_ADMINTOKEN": "0123",
            "BASCULE_LISTEN": "[::1]:90",
            "BASCULE_DRAIN__WINDOW": "null",
            "BASCULE_DRAIN__TIMEOUT": "1m",
            "BASCULE_TRUSTEDPROXIES": "10.0.0.0/8, ::1",
            "BASCULE_AUTH__SESSION__ALGORITHMS": "[HS256, HS384]",
            "BASCULE_SOCKETS__NODELAY": "false",
            "BASCULE_ROUTES": "[{name: a, path: /, upstream: 'http://x'}]",
            "BASCULE_LOG__FORMAT": "",
            "OTHER_LISTEN": ":1",
        },
    ).config

    assert config.websocket_proxy.max_sessions_per_app == 7
    assert config.admin_token == "0123"
    assert config.listen == Endpoint("::1", 90)
    assert (config.drain.window, config.drain.timeout) == (None, 60)
    assert [str(network) for network in config.trusted_proxies] == ["10.0.0.0/8", "::1/128"]
    assert config.auth.session.algorithms == ("HS256", "HS384")
    assert config.sockets.no_delay is False
    assert config.routes[0].name == "a"
    assert config.log.format == "auto"


@pytest.mark.parametrize(
    ("text", "peers"),
    [
        ("[::1]:8081", ["[::1]:8081"]),
        ("[::1]:8081, [::1]:8082", ["[::1]:8081", "[::1]:8082"]),
        (" a:1 ,[::1]:8082", ["a:1", "[::1]:8082"]),
        (' ["[::1]:8081", "a:1"] ', ["[::1]:8081", "a:1"]),
        ("[]", []),
    ],
)
def test_an_ipv6_address_begins_no_yaml_list(text: str, peers: list[str]) -> None:
    config = load(None, {"BASCULE_CAPACITY__PEERS": text}).config

    assert [str(peer) for peer in config.capacity.peers] == peers


@pytest.mark.parametrize(
    "key",
    [
        *("adminToken", "adminTokenFile", "hub.defaultTarget", "sockets.congestionControl"),
        *("capacity.headlessService", "capacity.name", "tls.key", "tls.redirectFrom", "auth.session.issuer"),
    ],
)
def test_null_unsets_a_text_that_may_be_null(key: str) -> None:
    variable = f"BASCULE_{key.upper().replace('.', '__')}"

    assert load(None, {variable: "null"}, defaults={key: "x"}).config == Config()


def test_null_is_a_text_where_null_is_not_allowed() -> None:
    config = load(None, {"BASCULE_AUTH__SESSION__COOKIE": "null"}).config

    assert config.auth.session.cookie == "null"


def test_a_key_set_by_two_variables_is_a_problem() -> None:
    assert problems(None, {"BASCULE_LISTEN": ":1", "bascule_listen": ":2"}) == [
        "bascule_listen: listen: set twice; BASCULE_LISTEN is the same key"
    ]


def _service_links(name: str, address: str, protocol: str) -> dict[str, str]:
    """Return what Kubernetes puts into a container for a Service with one named port."""
    url = f"{protocol}://{f'[{address}]' if ':' in address else address}:8080"
    port = f"{name}_PORT_8080_{protocol.upper()}"
    return {
        f"{name}_SERVICE_HOST": address,
        f"{name}_SERVICE_PORT": "8080",
        f"{name}_SERVICE_PORT_HTTP_WS": "8080",
        f"{name}_PORT": url,
        port: url,
        f"{port}_PROTO": protocol,
        f"{port}_PORT": "8080",
        f"{port}_ADDR": address,
    }


@pytest.mark.parametrize("name", ["BASCULE", "BASCULE_ADMIN", "BASCULE_TLS_REDIRECT", "BASCULE_2"])
@pytest.mark.parametrize("address", ["10.0.0.1", "fd00::1"])
@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
def test_what_kubernetes_sets_for_a_service_of_our_name_is_not_ours(
    name: str, address: str, protocol: str
) -> None:
    links = _service_links(name, address, protocol)

    assert load(None, {**links, "BASCULE_PURE": "1", "BASCULE_CONFIG": "x"}).config == Config()


@pytest.mark.parametrize(
    ("variable", "value", "meant"),
    [
        ("BASCULE_TLS__REDIRECT_PORT", "443", "BASCULE_TLS__REDIRECTPORT"),
        ("BASCULE_TLS_REDIRECT_PORT", "443", "BASCULE_TLS__REDIRECTPORT"),
        ("BASCULE_LISTEN_PORT", "8080", "BASCULE_LISTEN"),
        ("BASCULE_ADMIN_PORT", "8081", "BASCULE_ADMIN"),
        ("BASCULE_ADMIN_PORT", "0.0.0.0:8081", "BASCULE_ADMIN"),
    ],
)
def test_a_misspelt_variable_is_told_though_a_service_has_one_that_ends_so(
    variable: str, value: str, meant: str
) -> None:
    assert problems(None, {variable: value}) == [f"{variable}: no such key; did you mean {meant}?"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("BASCULE_PORT", "8080"),
        ("BASCULE_SERVICE_HOST", "example.org"),
        ("BASCULE_SERVICE_PORT", "http"),
        ("BASCULE_PORT_8080_TCP", "8080"),
        ("BASCULE_PORT_8080_TCP_PROTO", "http"),
        ("BASCULE_PORT_8080_TCP_ADDR", "tcp://10.0.0.1:8080"),
    ],
)
def test_what_kubernetes_would_not_set_is_not_taken_for_its_own(variable: str, value: str) -> None:
    (problem,) = problems(None, {variable: value})
    assert problem.startswith(f"{variable}: no such key")
