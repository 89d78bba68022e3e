"""The models: defaults, bounds, and what several keys must make sense of together."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bascule.configuration.auth import SessionAuth
from bascule.configuration.config import AuthMode, Config, Endpoint, Forwarders, Hub, Limits, WebSocketProxy
from bascule.configuration.consistency import doubts, inconsistencies
from bascule.configuration.model import Block, leaves
from bascule.configuration.problems import dotted, problems_of
from bascule.configuration.route import RouteConfig
from bascule.vocabulary import Kind
from tests.configuration.strategies import configurations

INTS = ("maxSessionsPerApp", "incomingBufferBytes", "grizzlyWorkerPoolMaxSize")
LONGS = ("sessionIdleTimeoutMs", "heartbeatIntervalMs")


def route(**more: Any) -> dict[str, Any]:
    return {"name": "lab", "path": "/", "upstream": "http://127.0.0.1:8888", **more}


def found(**values: Any) -> list[tuple[str, str]]:
    """Return path and text of what is inconsistent."""
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(values)
    (error,) = caught.value.errors()
    return [(dotted(problem.path), problem.allowed) for problem in error["ctx"]["problems"]]


@pytest.mark.parametrize(
    ("kind", "path", "strips", "doubted"),
    [
        ("jupyter", "/lab/", True, True),
        ("jupyter", "/lab/", False, False),
        ("jupyter", "/", True, False),
        ("app", "/lab/", True, False),
    ],
)
def test_a_jupyter_whose_prefix_is_stripped_is_doubted(
    kind: str, path: str, strips: bool, doubted: bool
) -> None:
    config = Config.model_validate({"routes": [route(kind=kind, path=path, stripPrefix=strips)]})
    assert [line.partition(": ")[0] for line in doubts(config, 1)] == ["routes[0].stripPrefix"] * doubted


@pytest.mark.parametrize(
    ("count", "workers", "cores", "doubted"),
    [
        (1000, 200, 2, "200 is more than the 2 cores"),
        (2, 200, 1, "2 is more than the 1 core that"),
        (2, 200, 2, ""),
        (1000, 2, 2, ""),
        (None, 200, 1, ""),
    ],
)
def test_more_forwarders_than_cores_are_doubted(
    count: int | None, workers: int, cores: int, doubted: str
) -> None:
    config = Config.model_validate(
        {"forwarders": {"count": count}, "websocketProxy": {"grizzlyWorkerPoolMaxSize": workers}}
    )
    lines = doubts(config, cores)
    assert len(lines) == bool(doubted)
    assert all(line.startswith(f"forwarders.count: {doubted}") for line in lines)


@pytest.mark.parametrize(
    ("key", "default", "why"),
    [
        ("websocketProxy.maxSessionsPerApp", 500, "the pool page"),
        ("websocketProxy.incomingBufferBytes", 33554432, "the pool page"),
        ("websocketProxy.grizzlyWorkerPoolMaxSize", 200, "the pool page"),
        ("websocketProxy.sessionIdleTimeoutMs", 0, "the pool page: sessions are long-lived"),
        ("websocketProxy.heartbeatIntervalMs", 20000, "the pool page: below nginx's 60 s"),
        ("metrics.durationHalfLife", 300.0, "the pool page: a roughly five-minute half-life"),
        ("metrics.recentWindow", 600.0, "MicroProfile: NaN when no sample is younger than 10 minutes"),
        ("limits.handshakeTimeout", 10.0, "a peer that begins and says no more has ten seconds"),
        ("limits.rejectMode", "close", "the pool page: 101, then 1013"),
        ("capacity.warningShare", 0.8, "the badges' threshold, which dashboard and alert repeat"),
        ("capacity.cacheFor", 5.0, "the capacity API may be five seconds old"),
        ("upstreamTls.verify", True, "a certificate that nobody checks is worth nothing"),
    ],
)
def test_a_default_that_others_name_is_what_they_say(key: str, default: object, why: str) -> None:
    found: Any = Config().model_dump(by_alias=True)
    for step in key.split("."):
        found = found[step]
    assert (found, type(found)) == (default, type(default)), why


def test_the_table_above_has_every_key_of_the_pool() -> None:
    assert len(WebSocketProxy.model_fields) == 5


@pytest.mark.parametrize("key", INTS)
@pytest.mark.parametrize("value", [1, 2147483647])
def test_the_three_ints_take_what_java_takes(key: str, value: int) -> None:
    assert WebSocketProxy.model_validate({key: value}).model_dump(by_alias=True)[key] == value


@pytest.mark.parametrize("key", INTS)
@pytest.mark.parametrize("value", [0, -1, 2147483648, True, 1.5, math.inf, math.nan, "1", None])
def test_the_three_ints_take_nothing_else(key: str, value: object) -> None:
    with pytest.raises(ValidationError):
        WebSocketProxy.model_validate({key: value})


@pytest.mark.parametrize(
    ("model", "key"),
    [(WebSocketProxy, key) for key in (*INTS, *LONGS)]
    + [(Limits, "requestHeadBytes"), (Forwarders, "count"), (RouteConfig, "maxSessions")],
)
def test_a_whole_number_may_be_written_with_a_point_as_the_schema_says(model: type[Block], key: str) -> None:
    """Helm checks by that schema, and JSON Schema calls 500.0 an integer; ``5e2`` is that in YAML 1.2."""
    needed = route() if model is RouteConfig else {}
    for value in (2000.0, 2e3) if model is Limits else (500.0, 5e2):
        found = model.model_validate({**needed, key: value}).model_dump(by_alias=True)[key]
        assert (found, type(found)) == (value, int)
    with pytest.raises(ValidationError):
        model.model_validate({**needed, key: 2000.5})


@pytest.mark.parametrize("key", LONGS)
@pytest.mark.parametrize("value", [0, 2**63])
def test_the_two_longs_have_a_lower_bound_only(key: str, value: int) -> None:
    assert WebSocketProxy.model_validate({key: value}).model_dump(by_alias=True)[key] == value


@pytest.mark.parametrize("key", LONGS)
@pytest.mark.parametrize("value", [-1, False, 0.5, "0", None])
def test_the_two_longs_take_nothing_else(key: str, value: object) -> None:
    with pytest.raises(ValidationError):
        WebSocketProxy.model_validate({key: value})


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Config().log.level = "debug"  # type: ignore[misc]


def test_the_admin_token_is_not_shown_in_a_repr() -> None:
    assert "hush" not in repr(Config(admin_token="hush"))


@pytest.mark.parametrize("text", ["tok", " tok ", "tok\n", "\ttok\r\n"])
def test_white_space_around_the_admin_token_is_not_part_of_it(text: str) -> None:
    # Callers' tokens are stripped, so one that was kept with its white space matched nothing.
    assert Config(admin_token=text).admin_token == "tok"


@pytest.mark.parametrize("text", ["", " ", "\n", "\x1f"])
def test_a_blank_admin_token_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        Config(admin_token=text)


@given(configurations)
@settings(deadline=None)
def test_a_configuration_reaches_the_other_processes_unchanged(config: Config) -> None:
    assert Config.model_validate_json(config.model_dump_json()) == config


def test_a_route_has_the_words_of_the_vocabulary() -> None:
    config = Config.model_validate({"routes": [route(kind="terminal")]})

    assert config.routes[0].kind is Kind.TERMINAL
    assert config.routes[0].auth is AuthMode.NONE
    assert not config.asks_for_sessions
    assert config.listen == Endpoint("0.0.0.0", 8080)


def test_one_route_that_asks_for_the_login_is_enough() -> None:
    routes = [route(), route(name="b", path="/b", auth="session")]
    config = Config.model_validate({"auth": {"session": {"keyFile": "k"}}, "routes": routes})
    assert config.asks_for_sessions


def test_a_name_in_the_path_needs_a_pattern_and_the_other_way_round() -> None:
    for more in ({"path": "/{x}/"}, {"where": {"x": "[a-z]+"}}, {"upstream": "http://{x}"}):
        with pytest.raises(ValidationError):
            RouteConfig.model_validate(route(**more))


def test_routes_have_names_and_shapes_of_their_own() -> None:
    where = {"x": "[a-z]+"}

    problems = found(
        routes=[
            route(name="a", path="/a/{x}/", where=where),
            route(name="b", path="/b"),
            route(name="a", path="/b/"),
            route(name="d", path="/a/{y}", where={"y": "[0-9]+"}),
        ]
    )

    assert problems == [
        ("routes[2].name", "a name of its own; routes[0] has the same"),
        ("routes[2].path", "a path of its own; that of routes[1] matches the same requests"),
        ("routes[3].path", "a path of its own; that of routes[0] matches the same requests"),
    ]


@pytest.mark.parametrize(
    ("listen", "upstream", "own"),
    [
        (":8080", "http://127.0.0.1:8080", "listen"),
        (":8080", "http://localhost:8081", "admin"),
        (":8080", "http://[::1]:8081", "admin"),
        ("10.0.0.1:8080", "http://10.0.0.1:8080", "listen"),
        ("pod:80", "http://pod", "listen"),
        (":8080", "http://0.0.0.0:8080", "listen"),
        ("127.0.0.1:8080", "http://0.0.0.0:8080", "listen"),
        ("[fd00::1]:8080", "http://[fd00::1]:8080", "listen"),
    ],
)
def test_45_48_a_route_to_ourselves_is_refused(listen: str, upstream: str, own: str) -> None:
    ((path, text),) = found(listen=listen, routes=[route(upstream=upstream)])

    assert path == "routes[0].upstream"
    assert f'our own "{own}"' in text


@pytest.mark.parametrize("own", ["listen", "admin"])
def test_48_a_route_to_a_socket_of_ours_is_refused(own: str) -> None:
    ((path, text),) = found(
        **{own: "unix:/run/ours.sock"}, routes=[route(upstream="http+unix://%2frun%2Fours.sock")]
    )

    assert path == "routes[0].upstream"
    assert text.endswith(f'our own "{own}" (unix:/run/ours.sock)')


def test_48_a_route_to_what_only_redirects_is_refused() -> None:
    tls = {"certificate": "c", "key": "k", "redirectFrom": ":80"}
    ((path, text),) = found(tls=tls, routes=[route(upstream="http://127.0.0.1")])

    assert path == "routes[0].upstream"
    assert 'our own "tls.redirectFrom"' in text


@pytest.mark.parametrize("key", ["defaultTarget", "errorTarget"])
def test_48_what_jupyterhub_has_no_route_for_does_not_lead_to_ourselves(key: str) -> None:
    def to(url: str) -> dict[str, Any]:
        hub = {"enabled": True, key: url}
        return {"listen": ":8000", "admin": ":8001", "adminToken": "x", "hub": hub}

    ((path, text),) = found(**to("http://127.0.0.1:8001/hub"))
    assert path == f"hub.{key}"
    assert 'our own "admin"' in text
    ((_, text),) = found(**to("http://[::1]:8000"))
    assert 'our own "listen"' in text
    Config.model_validate(to("http://127.0.0.1:8081/hub"))


def test_45_a_port_from_a_url_cannot_be_that_of_our_admin_listener() -> None:
    pinned = {"name": "j", "path": "/j/{port}/", "upstream": "http://127.0.0.1:{port}"}

    ((path, _),) = found(listen=":80", routes=[{**pinned, "where": {"port": "[0-9]{4}"}}])

    assert path == "routes[0].upstream"
    Config.model_validate({"routes": [{**pinned, "where": {"port": "[0-9]{5}"}}]})


@pytest.mark.parametrize(
    "values",
    [
        {"listen": ":0", "admin": ":0", "routes": [route(upstream="http://127.0.0.1:80")]},
        {"listen": "10.0.0.1:80", "routes": [route(upstream="http://127.0.0.1:80")]},
        {"routes": [route(path="/{x}/", upstream="http://{x}:8081", where={"x": "[a-z]+"})]},
        {"listen": ":80", "routes": [route(upstream="http://lab")]},
        {"listen": ":0", "routes": [route(path="/{p}/", upstream="http://[::1]:{p}", where={"p": "[0-7]"})]},
        {"listen": "10.0.0.1:80", "admin": "127.0.0.1:80"},
        {"listen": "unix:/run/a", "admin": "unix:/run/b"},
        {"listen": "unix:/run/a", "routes": [route(upstream="http+unix://%2Frun%2Fb")]},
        {"listen": "unix:/run/a", "routes": [route(upstream="http://127.0.0.1:80")]},
        {"listen": "unix:/run/a", "capacity": {"headlessService": "peers.ns.svc"}},
        {
            "listen": "unix:/run/a",
            "tls": {"certificate": "a", "key": "b", "redirectFrom": ":80", "redirectPort": 443},
        },
        {"tls": {"certificate": "a", "key": "b", "redirectFrom": ":80", "redirectPort": 443}},
        {"tls": {"certificate": "a", "key": "b"}},
        {"upstreamTls": {"ca": "a"}},
        {"upstreamTls": {"ca": "a", "certificate": "b", "key": "c", "verify": False}},
        {"tls": {"certificate": "a", "key": "b", "clientCa": "c"}},
        {"adminTls": {"certificate": "a", "key": "b", "clientCa": "c", "peerCa": "d"}},
        {"drain": {"naturalEnd": 30}},
        {"auth": {"session": {"keyFile": "k"}}, "routes": [route(auth="session")]},
        {"adminToken": "t"},
        {"adminTokenFile": "t"},
        {"hub": {"enabled": False, "maxRoutes": 20000, "includePrefix": True, "allowedOrigins": []}},
        {"hub": {"enabled": True, "hostRouting": True, "maxRoutes": 5}, "adminTokenFile": "t"},
        {
            "hub": {"enabled": True, "shareRoutes": True},
            "adminToken": "t",
            "capacity": {"headlessService": "peers.ns.svc"},
        },
    ],
)
def test_what_fits_together_is_accepted(values: dict[str, Any]) -> None:
    assert inconsistencies(Config.model_validate(values)) == []


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (
            {"routes": [route(auth="session"), route(name="b", path="/b", auth="session")]},
            ("auth.session.keyFile", 'the path of a file, since route "lab" has "auth: session"'),
        ),
        (
            {"listen": "unix:/run/a", "admin": "unix:/run/a"},
            ("admin", 'another Unix socket than "listen"'),
        ),
        (
            {"listen": "unix:/run/a", "tls": {"certificate": "a", "key": "b", "redirectFrom": ":80"}},
            ("tls.redirectPort", 'the port where browsers find https, since "listen" is a Unix socket'),
        ),
        (
            {"admin": "unix:/run/a", "capacity": {"headlessService": "peers.ns.svc"}},
            (
                "capacity.headlessService",
                'null, since "admin" is a Unix socket (unix:/run/a): the others are asked at its port',
            ),
        ),
        ({"tls": {"key": "k"}}, ("tls.certificate", "the path of a file, since key is set")),
        ({"tls": {"certificate": "c"}}, ("tls.key", "the path of a file, since certificate is set")),
        ({"upstreamTls": {"key": "k"}}, ("upstreamTls.certificate", "the path of a file, since key is set")),
        (
            {"upstreamTls": {"certificate": "c"}},
            ("upstreamTls.key", "the path of a file, since certificate is set"),
        ),
        ({"adminTls": {"key": "k"}}, ("adminTls.certificate", "the path of a file, since key is set")),
        (
            {"tls": {"clientCa": "c"}},
            ("tls.clientCa", "null, since there is no tls.certificate: nobody speaks TLS there"),
        ),
        (
            {"adminTls": {"clientCa": "c"}},
            ("adminTls.clientCa", "null, since there is no adminTls.certificate: nobody speaks TLS there"),
        ),
        (
            {"adminTls": {"peerCa": "c"}},
            ("adminTls.peerCa", "null, since there is no adminTls.certificate: nobody speaks TLS there"),
        ),
        (
            {"adminToken": "a", "adminTokenFile": "b"},
            ("adminTokenFile", "null, since adminToken is set; use one of the two"),
        ),
        ({"admin": "127.0.0.1:8080"}, ("admin", 'another port than "listen" (0.0.0.0:8080)')),
        (
            {"listen": "127.0.0.1:80", "admin": ":80"},
            ("admin", 'another port than "listen" (127.0.0.1:80)'),
        ),
        (
            {"listen": "10.0.0.1:80", "admin": "10.0.0.1:80"},
            ("admin", 'another port than "listen" (10.0.0.1:80)'),
        ),
        (
            {"tls": {"certificate": "c", "key": "k", "redirectFrom": ":8080"}},
            ("tls.redirectFrom", 'another port than "listen" (0.0.0.0:8080)'),
        ),
        (
            {"tls": {"certificate": "c", "key": "k", "redirectFrom": ":8081"}},
            ("tls.redirectFrom", 'another port than "admin" (127.0.0.1:8081)'),
        ),
        (
            {"tls": {"redirectFrom": ":80"}},
            ("tls.redirectFrom", "null, since there is no tls.certificate: https would not work"),
        ),
        (
            {"hub": {"defaultTarget": "http://h"}},
            ("hub.defaultTarget", "null, for hub.enabled is false (bascule chp sets it)"),
        ),
        ({"drain": {"naturalEnd": "31s"}}, ("drain.naturalEnd", "at most drain.timeout (30 s)")),
        (
            {"websocketProxy": {"heartbeatIntervalMs": 0}, "limits": {"pongTimeout": "1m"}},
            (
                "limits.pongTimeout",
                "0, since websocketProxy.heartbeatIntervalMs is 0: there is nothing to answer",
            ),
        ),
        (
            {"tls": {"certificate": "c", "key": "k", "redirectPort": 443}},
            ("tls.redirectPort", "null, since there is no tls.redirectFrom"),
        ),
        (
            {"hub": {"enabled": True}},
            (
                "adminTokenFile",
                "the path of a file, since hub.enabled is true: adding routes needs a token",
            ),
        ),
        (
            {"hub": {"enabled": True, "shareRoutes": True}, "adminToken": "t"},
            (
                "capacity.headlessService",
                "a name, or capacity.peers a list, since hub.shareRoutes is true: those are the replicas",
            ),
        ),
    ],
)
def test_what_does_not_fit_together_names_the_key_to_change(
    values: dict[str, Any], problem: tuple[str, str]
) -> None:
    assert found(**values) == [problem]


def test_every_key_of_the_hub_is_refused_while_it_is_off() -> None:
    hub = {
        "defaultTarget": "http://h",
        "errorTarget": "http://h/error",
        "shareRoutes": True,
        "hostRouting": True,
        "includePrefix": False,
        "prependPath": False,
        "allowedOrigins": ["https://h.example"],
        "maxRoutes": 5,
    }
    assert {*hub, "enabled"} == {field.alias for field in Hub.model_fields.values()}

    capacity = {"peers": ["10.0.0.2:8081"]}
    assert [path for path, _ in found(hub=hub, capacity=capacity)] == [f"hub.{key}" for key in hub]
    on = {"hub": {"enabled": True, **hub}, "adminToken": "t", "capacity": capacity}
    assert Config.model_validate(on).hub.max_routes == 5


@pytest.mark.parametrize("url", ["ftp://hub/", "hub:8081", "http://hub/?next=x", "http://user@hub/"])
def test_a_target_of_jupyterhub_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match=r'"http://host:port", "https://host:port" or'):
        Hub(enabled=True, default_target=url)


def test_the_cookie_is_ours_where_a_key_is_set() -> None:
    assert SessionAuth(cookie="ours").withheld is None
    assert SessionAuth(cookie="ours", key_file=Path("k")).withheld == b"ours"
    assert SessionAuth(cookie="ours").challenge == 'Cookie realm="bascule", cookie-name=ours'


def test_python_names_work_in_code() -> None:
    assert (
        Config(websocket_proxy=WebSocketProxy(max_sessions_per_app=3)).websocket_proxy.max_sessions_per_app
        == 3
    )


@given(st.sampled_from([path for path, _ in leaves(Config)]))
def test_no_key_lies_above_another(path: tuple[str, ...]) -> None:
    others = [other for other, _ in leaves(Config) if other != path]

    assert all(other[: len(path)] != path for other in others)


@pytest.mark.parametrize("mode", ["0660", "660", "0777", "000"])
def test_a_mode_is_octal_text(mode: str) -> None:
    assert Config(listen_mode=mode, admin_mode=mode).listen_mode == mode


@pytest.mark.parametrize("mode", [432, "", "0", "01770", "0o660", "u=rw", "888", None])
def test_what_yaml_makes_of_a_mode_without_quotes_is_refused(mode: object) -> None:
    with pytest.raises(ValidationError) as refused:
        Config.model_validate({"listenMode": mode})
    (problem,) = problems_of(refused.value.errors())
    assert problem.path == ("listenMode",)
    assert problem.text.endswith('permissions in octal, as text: "0660", in quotes')


@pytest.mark.parametrize(
    "values", [{"tls": {"redirectFrom": "unix:/run/a"}}, {"capacity": {"peers": ["unix:/run/a"]}}]
)
def test_what_has_to_be_tcp_is_told_so(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="not a Unix socket, which has no port"):
        Config.model_validate(values)
