"""The pages about the admin API and the badges say what the code does."""

from pathlib import Path

import pytest
import yaml

from bascule.admin.capacity import POOL_FULL, POOL_FULL_ERROR_CODE

ROOT = Path(__file__).parents[2]
API = (ROOT / "docs/reference/admin-api.md").read_text()
BADGES = (ROOT / "docs/howto/capacity-badges.md").read_text()
OPENAPI = yaml.safe_load((ROOT / "src/bascule/admin/openapi.yaml").read_text())


def test_every_call_is_documented() -> None:
    for path, methods in OPENAPI["paths"].items():
        for method in methods:
            assert f"| `{method.upper()} {path}` |" in API


def test_every_parameter_of_the_session_list_is_documented() -> None:
    for parameter in OPENAPI["paths"]["/sessions"]["get"]["parameters"]:
        shared = parameter.get("$ref", "").rpartition("/")[2]
        said = OPENAPI["components"]["parameters"][shared] if shared else parameter
        assert f"`{said['name']}`" in API


@pytest.mark.parametrize(
    ("scope", "text"),
    [
        ("instance", "This instance is close to its limit"),
        ("instance", "This instance is full"),
        ("cluster", "Cluster is close to its limit"),
        ("cluster", "Cluster is full"),
    ],
)
def test_the_contracts_texts_are_the_badges_and_documented_to_the_letter(scope: str, text: str) -> None:
    assert f'"{text}"' in (ROOT / "src/bascule/admin/static/badge.js").read_text()
    assert f"| {scope} | `{text}` |" in BADGES


def test_the_gates_refusal_is_documented() -> None:
    assert f'"errorCode": {POOL_FULL_ERROR_CODE}, "errorMsg": "{POOL_FULL}"' in BADGES
