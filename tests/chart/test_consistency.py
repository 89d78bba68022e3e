"""Whatever the chart renders passes `bascule check`; what would not, the chart refuses, in the same words."""

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from bascule.configuration.loading import load
from bascule.errors import ConfigError
from tests.chart.rendering import CHART, HELMS, configuration, refusal, run
from tests.support import yamlfast

pytestmark = pytest.mark.real

SESSION = {"auth": {"session": {"keySecret": {"name": "jwt"}}}}
HUB = {"adminToken": {"name": "admin"}}


def route(**keys: Any) -> dict[str, Any]:
    return {"name": "a", "path": "/a/", "upstream": "http://10.0.0.1:80", **keys}


def routes(*many: dict[str, Any]) -> dict[str, Any]:
    return {"routes": list(many)}


def captured(pattern: str, **keys: Any) -> dict[str, Any]:
    return routes(route(path="/{x}", where={"x": pattern}, **keys))


SAME_WORDS: dict[str, dict[str, Any]] = {
    "a name without a pattern": routes(route(path="/{port}/")),
    "two names, one pattern": routes(route(path="/{x}/{z}", where={"x": "a"})),
    "a pattern for no name": routes(route(where={"x": "a"})),
    "a pattern that matches a slash": captured(".*"),
    "a pattern that matches dots": captured("[a.]+"),
    "a pattern that matches nothing": captured("[a-z]*"),
    "the same name twice": routes(route(), route(path="/b")),
    "the same path twice": routes(route(), route(name="b", path="/a")),
    "the same shape twice": routes(
        route(path="/{x}", where={"x": "a"}), route(name="b", path="/{z}/", where={"z": "b"})
    ),
    "a name captured twice": routes(route(path="/{x}/{x}", where={"x": "a"})),
    "our own paths": routes(route(path="/.bascule/x")),
    "an upstream of no name": routes(route(upstream="http://{x}:80")),
    "a port that is no number": captured("[a-z]+", upstream="http://h:{x}"),
    "a host of several labels": captured("[a-z.]+[a-z]", upstream="http://{x}:80"),
    "our own listener": routes(route(upstream="http://127.0.0.1:8080")),
    "our own admin listener": routes(route(upstream="http://localhost:8081")),
    "our own listener, IPv6": routes(route(upstream="http://[::1]:8080/")),
    "our own listener, by a URL": captured("80[0-9]{2}", upstream="http://127.0.0.1:{x}"),
    "claims and no login": routes(route(requiredClaims={"sub": "x"})),
    "audiences and no login": routes(route(audiences=["x"])),
    "a claim of no name": {**SESSION, **routes(route(auth="session", requiredClaims={"sub": "{x}"}))},
    "a claim with a brace": {**SESSION, **routes(route(auth="session", requiredClaims={"sub": "a}"}))},
    "names side by side": {
        **SESSION,
        **routes(
            route(path="/{x}/{z}", where={"x": "a", "z": "a"}, auth="session", requiredClaims={"s": "{x}{z}"})
        ),
    },
    "an origin with the default port": routes(route(allowedOrigins=["https://a:443"])),
    "a network with bits behind the mask": {"trustedProxies": ["10.0.0.0/8", "10.0.0.1/8"]},
    "a certificate without a key": {"upstreamTls": {"certificate": "/c"}},
    "a key without a certificate": {"upstreamTls": {"key": "/k"}},
    "a CA of browsers without TLS": {"extraConfig": {"tls": {"clientCa": "/c"}}},
    "a redirect without TLS": {"extraConfig": {"tls": {"redirectFrom": "0.0.0.0:8082"}}},
    "a port of no redirect": {"extraConfig": {"tls": {"redirectPort": 80}}},
    "two admin tokens": {"adminToken": {"name": "a"}, "extraConfig": {"adminToken": "s3cr3t"}},
    "the Hub's pages at our own listener": {
        **HUB, "hub": {"enabled": True, "defaultTarget": "http://127.0.0.1:8080"},
    },
}  # fmt: skip

REFUSED: dict[str, dict[str, Any]] = {
    "an empty segment": routes(route(path="/a//b")),
    "a star": routes(route(path="/a/*")),
    "a name in a segment": routes(route(path="/a{x}", where={"x": "a"})),
    "a path that goes up": routes(route(path="/a/../b")),
    "an escaped slash": routes(route(path="/a%2Fb")),
    "a port beyond the last": routes(route(upstream="http://h:70000")),
    "a host with an empty label": routes(route(upstream="http://a..b")),
    "a socket with a name": captured("a", upstream="http+unix://%2Frun%2F{x}"),
    "an origin's port beyond the last": routes(route(allowedOrigins=["https://a:99999"])),
    "no regular expression": captured("[a"),
    "a class of POSIX": captured("[[:alpha:]]+"),
    "a pattern beyond ASCII": captured("é"),
    "no network": {"trustedProxies": ["foo"]},
    "a mask beyond the last": {"proxyProtocolFrom": ["10.0.0.0/33"]},
    "no time to connect": {"limits": {"connectTimeout": "0s"}},
    "no algorithm": {"auth": {"session": {"algorithms": []}}},
    "a peer without a port": {"capacity": {"peers": ["bascule-0:0"]}},
    "a headless service with a space": {"capacity": {"headlessService": "a b"}},
    "an unknown key": {"extraConfig": {"xyzzy": 1}},
    "an unknown key in a block": {"extraConfig": {"limits": {"xyzzy": 1}}},
    "a mode in decimal": {"extraConfig": {"listenMode": 660}},
    "a blank token": {"extraConfig": {"adminToken": " \t"}},
    "the Hub's block, and no Hub": {"extraConfig": {"hub": {"shareRoutes": True}}},
}


def as_configured(values: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration that these values mean."""
    config = {key: value for key, value in values.items() if key not in {"adminToken", "auth", "extraConfig"}}
    config |= {"listen": "0.0.0.0:8080", "admin": "0.0.0.0:8081"}
    if "adminToken" in values:
        config["adminTokenFile"] = "/etc/bascule/admin/token"
    if "auth" in values:
        config["auth"] = {"session": {"keyFile": "/etc/bascule/auth/key"}}
    return {**config, **values.get("extraConfig", {})}


def problems(text: str, folder: Path) -> list[str]:
    """Return what `bascule check` says of a configuration, without where it stands."""
    path = folder / "b.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        load((path,), {}, {})
    except ConfigError as error:
        return [re.sub(r"^\S*b\.yaml(:\d+)*: ", "", problem) for problem in error.problems]
    return []


@pytest.mark.parametrize("version", HELMS)
@pytest.mark.parametrize("values", SAME_WORDS.values(), ids=SAME_WORDS)
def test_keys_that_do_not_fit_are_refused_in_the_words_of_the_proxy(
    version: str, values: dict[str, Any], tmp_path: Path
) -> None:
    first = problems(json.dumps(as_configured(values)), tmp_path)[0]
    said = refusal(version, values)
    assert first in said
    assert "s3cr3t" not in said


@pytest.mark.parametrize("values", REFUSED.values(), ids=REFUSED)
def test_a_value_that_the_proxy_refuses_is_refused(values: dict[str, Any]) -> None:
    refusal("v3", values)


GOOD = ("[a-w]+", "[0-9]{4}", "8[0-9]{3}", r"\d+", "[a-z][a-z0-9-]*")
BAD = ("(?!x)[a-w]+", ".+", "[a", r"[\w.]+", "")
PATHS = ("/a/", "/{x}/", "/b/{x}", "/{x}/{z}", "/c/{x}/d/{z}/", "/a/%7Eb", "/a.b/..c")
UPSTREAMS = ("http://h:80", "http://{x}:80", "http://h-{x}.svc:{z}", "http://127.0.0.1:8888", "http://h:{z}")


def random_routes(choose: random.Random) -> list[dict[str, Any]]:
    """Return one or two routes, each rule of which is kept, or now and then broken."""
    made = []
    for name in choose.choice([("a",), ("a",), ("a", "b"), ("a", "a")]):
        path = choose.choice(PATHS if choose.random() < 0.9 else ("/.bascule", "/{x}/{x}", "/"))
        names = {one for one in "xz" if f"{{{one}}}" in path}
        if choose.random() < 0.1:
            names ^= {"x"}
        fits = [one for one in UPSTREAMS if names.issuperset(re.findall(r"{(\w)}", one))]
        one = route(
            name=name,
            path=path,
            upstream=choose.choice(fits if choose.random() < 0.9 else (*UPSTREAMS, "http://127.0.0.1:8080")),
            where={one: choose.choice(GOOD if choose.random() < 0.9 else BAD) for one in sorted(names)},
        )
        if choose.random() < 0.2:
            one["requiredClaims"] = {"sub": choose.choice(["a", "{x}", ["{x}/{z}", "b"]])}
            one["auth"] = choose.choice(["session", "session", "none"])
        made.append(one)
    return made


def test_whatever_is_rendered_the_proxy_accepts(tmp_path: Path) -> None:
    choose = random.Random(7)
    outcomes = {True: 0, False: 0}
    for _ in range(60):
        values = {**SESSION, "routes": random_routes(choose)}
        done = run("v4", "template", "ws", str(CHART), values=yamlfast.dump(values))
        outcomes[rendered := done.returncode == 0] += 1
        said = problems(json.dumps(as_configured(values)), tmp_path)
        if rendered:
            assert problems(configuration(yamlfast.load_all(done.stdout)), tmp_path) == []
        else:
            assert said, f"refused without need: {values}\n{done.stderr}"
    assert min(outcomes.values()) > 10
