"""A configuration as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings

from bascule.configuration.config import Config
from bascule.configuration.loading import load
from bascule.configuration.printing import MASK, masked, print_config
from tests.configuration.strategies import configurations

if TYPE_CHECKING:
    from pathlib import Path


@given(configurations)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_is_printed_loads_as_the_same_configuration_but_for_secrets(
    tmp_path: Path, config: Config
) -> None:
    path = tmp_path / "printed.yaml"
    path.write_text(print_config(config), encoding="utf-8")

    token = None if config.admin_token is None else MASK
    assert load(path, {}).config == config.model_copy(update={"admin_token": token})


def test_every_value_is_printed_with_its_source() -> None:
    loaded = load(None, {"BASCULE_LOG__LEVEL": "debug"}, {"websocketProxy.maxSessionsPerApp": 7})

    lines = print_config(loaded.config, loaded.sources).splitlines()

    assert 'listen: "0.0.0.0:8080"  # default' in lines
    assert "  maxSessionsPerApp: 7  # flag" in lines
    assert '  level: "debug"  # environment' in lines
    assert "auth:" in lines
    assert "  session:" in lines
    assert '    cookie: "proxy_session"  # default' in lines


def test_routes_are_printed_one_key_a_line() -> None:
    config = Config.model_validate(
        {"routes": [{"name": "a", "path": "/{x}/", "upstream": "http://{x}", "where": {"x": "[a-z]+"}}]}
    )

    text = print_config(config, {"routes": "file"})

    assert 'routes:  # file\n  - name: "a"\n    kind: "app"\n    path: "/{x}/"\n' in text
    assert '    where: {"x": "[a-z]+"}\n' in text


def test_secrets_are_masked_and_files_are_not() -> None:
    config = Config.model_validate(
        {
            "adminToken": "hush",
            "auth": {"session": {"keyFile": "/run/key"}},
            "tls": {"certificate": "c", "key": "k"},
        }
    )

    assert "hush" not in print_config(config)
    assert 'adminToken: "(set)"' in print_config(config)
    assert masked(config)["adminToken"] == "(set)"
    assert masked(Config())["adminToken"] is None
    assert '"/run/key"' in print_config(config)
