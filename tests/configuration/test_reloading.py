"""A reload may change what only gateways use, and is told which keys it may not."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.configuration.config import Config
from bascule.configuration.model import leaves
from bascule.configuration.reloading import ONLY_AT_A_START, check_reload
from bascule.errors import ConfigError

OTHER: dict[tuple[str, ...], Any] = {
    ("listen",): "127.0.0.1:1",
    ("listenMode",): "0666",
    ("adminMode",): "0660",
    ("tls", "redirectFrom"): "127.0.0.1:80",
    ("admin",): "127.0.0.1:2",
    ("websocketProxy", "grizzlyWorkerPoolMaxSize"): 3,
    ("forwarders", "count"): 6,
    ("forwarders", "readBufferBytes"): 8192,
}


WITH_TLS = {"certificate": "certificate.pem", "key": "key.pem"}
"""What the keys of TLS are of use with."""


def config(key: tuple[str, ...], value: Any) -> Config:
    data: Any = value
    for step in reversed(key):
        data = {step: data}
    if key[0] == "tls":
        data["tls"].update(WITH_TLS)
    return Config.model_validate(data)


def test_every_key_that_only_a_start_changes_exists() -> None:
    assert set(ONLY_AT_A_START) <= {path for path, _ in leaves(Config)}
    assert set(ONLY_AT_A_START) == set(OTHER)


@pytest.mark.parametrize("key", ONLY_AT_A_START, ids=".".join)
def test_what_only_a_start_changes_is_refused_by_name(key: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as refused:
        check_reload(Config(), config(key, OTHER[key]))
    (problem,) = refused.value.problems
    assert problem.startswith(".".join(key) + ": found ")
    assert problem.endswith("only a restart changes it")


def test_every_such_key_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        check_reload(Config(), Config.model_validate({"forwarders": {"count": 2, "readBufferBytes": 8192}}))
    assert len(refused.value.problems) == 2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (("websocketProxy", "maxSessionsPerApp"), 7),
        (("websocketProxy", "sessionIdleTimeoutMs"), 4),
        (("websocketProxy", "heartbeatIntervalMs"), 5),
        (("limits", "closingHandshakeTimeout"), "7s"),
        (("routes",), [{"name": "a", "path": "/", "upstream": "http://127.0.0.1:9"}]),
        (("limits", "handshakeTimeout"), "3s"),
        (("sockets", "backlog"), 10),
        (("drain", "timeout"), "3s"),
        (("log", "level"), "debug"),
    ],
)
def test_what_no_forwarder_or_listening_socket_was_given_may_change(key: tuple[str, ...], value: Any) -> None:
    check_reload(Config(), config(key, value))


def test_the_same_may_be_written_another_way() -> None:
    check_reload(Config(), config(("listen",), ":8080"))
