from pathlib import Path
from typing import Any

from bascule.admin.configuration import configuration
from bascule.configuration.config import Config
from bascule.configuration.printing import MASK
from tests.admin.fake_view import config


def values(chosen: Config, sources: dict[str, str] | None = None) -> dict[str, tuple[Any, str]]:
    return {
        str(row["key"]): (row["value"], str(row["source"])) for row in configuration(chosen, sources or {})
    }


def test_every_value_is_listed_with_its_source() -> None:
    shown = values(config(), {"websocketProxy.maxSessionsPerApp": "file"})
    assert shown["websocketProxy.maxSessionsPerApp"] == (500, "file")
    assert shown["websocketProxy.heartbeatIntervalMs"] == (20000, "default")
    assert shown["listen"] == ("0.0.0.0:8080", "default")


def test_the_entries_of_a_list_have_the_lists_source() -> None:
    shown = values(config(), {"routes": "environment"})
    assert shown["routes[0].name"] == ("lab", "environment")
    assert shown["routes[0].where.project"] == ("[a-z]+", "environment")


def test_what_an_entry_leaves_out_is_a_default() -> None:
    shown = values(config(), {"routes": "file", "routes[0].auth": "default"})
    assert shown["routes[0].auth"] == ("none", "default")
    assert shown["routes[1].auth"] == ("none", "file")


def test_the_admin_token_is_masked_and_its_absence_is_shown() -> None:
    assert values(config(admin_token="s3cret-s3cret"))["adminToken"][0] == MASK
    assert values(config())["adminToken"][0] is None
    assert "s3cret" not in str(values(config(admin_token="s3cret-s3cret")))


def test_the_path_of_a_secret_is_no_secret() -> None:
    assert values(config(admin_token_file=Path("/run/token")))["adminTokenFile"][0] == "/run/token"
