"""The pages about the admin API and the badges say what the code does."""

from pathlib import Path

import yaml

from bascule.admin.capacity import BADGE_TEXTS, POOL_FULL, POOL_FULL_ERROR_CODE

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
        assert f"`{parameter['name']}`" in API


def test_the_texts_of_the_badges_are_documented_to_the_letter() -> None:
    for (scope, _), text in BADGE_TEXTS.items():
        assert f"| {scope} | `{text}` |" in BADGES


def test_the_texts_of_the_script_are_those_of_the_code() -> None:
    script = (ROOT / "src/bascule/admin/static/badge.js").read_text()
    for text in BADGE_TEXTS.values():
        assert f'"{text}"' in script


def test_the_gates_refusal_is_documented() -> None:
    assert f'"errorCode": {POOL_FULL_ERROR_CODE}, "errorMsg": "{POOL_FULL}"' in BADGES
