"""The loader: which source wins, and what is said about a configuration that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bascule.errors import ConfigError
from bascule.policy.config import Config, Endpoint
from bascule.policy.loading import Loaded, check_files, load, load_some

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
ENDPOINT = '"host:port", "[::1]:port" or ":port" (all IPv4 addresses), port 0 to 65535; or "unix:/path"'
NETWORK = 'a network such as "10.0.0.0/8" (no bits set behind the mask) or an address; or "unix:"'
ROUTE = "routes: [{name: a, path: /, upstream: 'http://x'}]\n"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a file and return its path as an operator would name it."""
    monkeypatch.chdir(tmp_path)

    def write(text: str | bytes, name: str = "b.yaml") -> Path:
        path = Path(name)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def problems(
    path: Any = None, environ: dict[str, str] | None = None, overrides: dict[str, object] | None = None
) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {}, overrides)
    return caught.value.problems


def set_by(loaded: Loaded) -> dict[str, str]:
    return {key: source for key, source in loaded.sources.items() if source != "default"}


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


@pytest.mark.parametrize("text", ["", "# nothing\n", "limits:\nauth:\n  session:\n"])
def test_an_empty_file_and_empty_blocks_set_nothing(file: Callable[..., Path], text: str) -> None:
    assert load(file(text), {}).config == Config()


def test_a_whole_hopsworks_values_file_is_accepted_as_it_is(file: Callable[..., Path]) -> None:
    path = file(
        "global: {x: 1}\nlog: [not, ours]\nhopsworks:\n  other: true\n  payara:\n    jvm: -X\n"
        "    websocketProxy:\n      maxSessionsPerApp: 800\n      heartbeatIntervalMs: 0\n"
    )

    loaded = load(path, {})

    assert loaded.config.websocket_proxy.max_sessions_per_app == 800
    assert set_by(loaded) == {
        "websocketProxy.maxSessionsPerApp": "file",
        "websocketProxy.heartbeatIntervalMs": "file",
    }


@pytest.mark.parametrize(
    "text",
    [
        "hopsworks:",
        "hopsworks: {payara: }",
        "hopsworks: {payara: {a: 1}}",
        "hopsworks: {payara: {websocketProxy: }}",
    ],
)
def test_a_values_file_without_the_five_keys_sets_nothing(file: Callable[..., Path], text: str) -> None:
    assert load(file(text), {}).config == Config()


@pytest.mark.parametrize(
    ("text", "place", "meant"),
    [
        ("hopsworks: {payra: {websocketProxy: {maxSessionsPerApp: 1}}}", "hopsworks.payra", "payara"),
        ("hopsworks: {Payara: {websocketProxy: {maxSessionsPerApp: 1}}}", "hopsworks.Payara", "payara"),
        (
            "hopsworks: {payara: {websocketProxi: {maxSessionsPerApp: 1}}}",
            "hopsworks.payara.websocketProxi",
            "websocketProxy",
        ),
        (
            "hopsworks: {payara: {websocketProxy: {}, websocket_proxy: {maxSessionsPerApp: 1}}}",
            "hopsworks.payara.websocket_proxy",
            "websocketProxy",
        ),
    ],
)
def test_a_misspelt_block_of_a_values_file_is_told(
    file: Callable[..., Path], text: str, place: str, meant: str
) -> None:
    (said,) = problems(file(text), {})
    assert said.endswith(f'{place}: unknown key; did you mean "{meant}"?')


def test_neighbours_in_a_values_file_are_not_taken_for_misspelt(file: Callable[..., Path]) -> None:
    text = "hopsworks: {payaraPool: 1, payara: {websocket: 1, proxy: 2, websocketProxyImage: 3}}"
    assert load(file(text), {}).config == Config()


GENERIC = {"admin", "auth", "capacity", "drain", "log", "metrics", "readiness"}


@pytest.mark.parametrize("key", [str(field.alias) for field in Config.model_fields.values()])
def test_a_key_of_ours_in_a_values_file_is_told_unless_it_may_be_the_platforms(
    file: Callable[..., Path], key: str
) -> None:
    path = file(f"hopsworks: {{payara: {{websocketProxy: {{maxSessionsPerApp: 1}}}}}}\n{key}: {{x: 1}}\n")

    if key in GENERIC:
        assert set_by(load(path, {})) == {"websocketProxy.maxSessionsPerApp": "file"}
    else:
        text = "put Bascule's own keys into a second file; this one is a Hopsworks values file"
        assert problems(path) == [f"b.yaml: {key}: {text}"]


def _bad_files() -> dict[str, list[str]]:
    _, *cases = (HERE / "bad_files.txt").read_text(encoding="utf-8").split("=====\n")
    return {text: said.splitlines() for text, said in (case.split("-----\n") for case in cases)}


BAD_FILES = _bad_files()


@pytest.mark.parametrize("text", BAD_FILES)
def test_every_problem_of_a_bad_file_is_told_with_its_place(file: Callable[..., Path], text: str) -> None:
    assert problems(file(text), {"HOSTNAME": "pod"}) == BAD_FILES[text]


def test_a_file_that_is_not_there_is_named(file: Callable[..., Path], tmp_path: Path) -> None:
    path = file("")
    path.unlink()

    assert problems(path) == ["b.yaml: the file cannot be read: No such file or directory"]
    assert problems(tmp_path) == [f"{tmp_path}: the file cannot be read: Is a directory"]


def test_no_more_is_read_of_a_file_than_a_configuration_can_have(file: Callable[..., Path]) -> None:
    assert problems(Path("/dev/zero")) == ["/dev/zero: the file is too large; allowed: 4 MiB"]
    assert load(file("# " + "x" * (4 * 2**20 - 2)), {}).config == Config()
    assert problems(file("# " + "x" * (4 * 2**20 - 1))) == ["b.yaml: the file is too large; allowed: 4 MiB"]


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


def test_a_problem_of_a_list_that_replaces_a_files_names_the_variable(file: Callable[..., Path]) -> None:
    path = file("routes: [{name: b, path: /, upstream: 'http://x'}]")
    said = problems(path, {"BASCULE_ROUTES": "[{name: a}]"})
    assert [line.partition(" ")[0] for line in said] == ["BASCULE_ROUTES:"] * 2


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


def test_what_a_route_leaves_out_is_a_default(file: Callable[..., Path]) -> None:
    loaded = load(file("routes: [{name: a, path: /, upstream: 'http://a', auth: none}]"), {})
    of_routes = {key: source for key, source in loaded.sources.items() if key.startswith("routes")}
    left_out = (
        "kind", "stripPrefix", "where", "allowedOrigins", "requiredClaims", "audiences",
        "incomingBufferBytes", "maxSessions", "rejectMode",
    )  # fmt: skip
    assert of_routes == {"routes": "file", **{f"routes[0].{key}": "default" for key in left_out}}

    other = load(None, {}, {"routes": [{"name": "b", "path": "/", "upstream": "http://b", "kind": "app"}]})
    moved = loaded.with_routes_of(other.config, "flag")
    assert moved.sources["routes"] == "flag"
    assert "routes[0].kind" not in moved.sources
    assert moved.sources["routes[0].auth"] == "default"


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
    assert load(path, environ).replaced == ()
    assert load(file("routes: []", "none.yaml"), {}, flag).replaced == ()


def test_problems_of_several_sources_are_told_together(file: Callable[..., Path]) -> None:
    assert problems(file("xyzzy: 1"), {"BASCULE_XYZZY": "2"}, {"drain.rate": -1}) == [
        "BASCULE_XYZZY: no such key",
        "command line: drain.rate: found -1; allowed: a number of at least 0",
        "b.yaml:1: xyzzy: unknown key",
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
        "--admin: admin",
        f"{file}:3: limits.handshakeTimeout",
    ]
