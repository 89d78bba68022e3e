"""The rule file: what promtool says of it, and that each alert leads somewhere."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from bascule.telemetry.catalogue import CATALOGUE
from dashboards import queries
from tests.support.parts import require

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "alerts" / "rules.yaml"
GROUPS = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
ALL_RULES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = [rule for rule in ALL_RULES if "alert" in rule]
RECORDED = {rule["record"] for rule in ALL_RULES if "record" in rule}


def promtool(*arguments: str) -> None:
    done = subprocess.run(
        [require("promtool"), *arguments], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.real
def test_promtool_accepts_the_rules() -> None:
    promtool("check", "rules", str(RULES))


@pytest.mark.real
def test_every_alert_fires_and_stays_silent_when_it_should() -> None:
    promtool("test", "rules", "alerts/rules_test.yaml")


@pytest.mark.real
def test_promtool_accepts_the_federating_configuration() -> None:
    promtool("check", "config", "--syntax-only", "alerts/prometheus/federate.yaml")


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: str(rule["alert"]))
def test_every_alert_has_severity_summary_description_and_an_existing_runbook(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    page = rule["annotations"]["runbook_url"].removeprefix("https://bascule.example/")
    text = (ROOT / page).read_text(encoding="utf-8")
    assert rule["alert"] in text, f"{page} does not mention {rule['alert']}"


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: str(rule["alert"]))
def test_every_alert_is_tested_firing_and_silent(rule: dict[str, Any]) -> None:
    document = yaml.safe_load((ROOT / "alerts" / "rules_test.yaml").read_text(encoding="utf-8"))
    cases = [
        bool(case.get("exp_alerts"))
        for test in document["tests"]
        for case in test.get("alert_rule_test", [])
        if case["alertname"] == rule["alert"]
    ]
    assert set(cases) == {True, False}


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: str(rule.get("alert") or rule["record"]))
def test_every_rule_reads_only_what_exists(rule: dict[str, Any]) -> None:
    names = queries.metric_names(rule["expr"]) - RECORDED
    known = {metric.name for metric in CATALOGUE}
    known |= {name + suffix for name in known for suffix in queries.HISTOGRAM_SUFFIXES}
    assert not names - known


def test_every_runbook_says_where_its_words_are_explained() -> None:
    for page in (ROOT / "docs" / "runbooks").glob("*.md"):
        if page.name != "index.md":
            text = page.read_text(encoding="utf-8")
            assert "Words in capitals, `$TOKEN` and how to reach a pod: [the index](index.md)." in text, (
                page.name
            )


def test_runbooks_belong_to_an_alert() -> None:
    pages = {re.sub(r".*/", "", rule["annotations"]["runbook_url"]) for rule in ALERTS}
    folder = ROOT / "docs" / "runbooks"
    assert {page.name for page in folder.glob("*.md")} - {"index.md"} == pages
