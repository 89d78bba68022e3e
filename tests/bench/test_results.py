"""Ratios, tables, charts and the page come out of the figures as the page says they do."""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple, cast
from xml.etree import ElementTree

import pytest
from bench.__main__ import main
from bench.generators import LoadFailed
from bench.places import DOCS, LATEST, PAGE, TABLES
from bench.progress import Progress
from bench.results import Case, Metric, Results
from bench.scenarios.base import Context, in_turn
from bench.stands import Fleet, Stand

from bench import charts, publish, report, targets

CPU = Metric("message_cpu", "CPU per round trip", "µs")
CASE = Case("50 sessions, 8 in flight", 64, "64 B")


def results() -> Results:
    """Three rounds; everything takes twice as long in the last."""
    found = Results()
    found.titles["messages"] = "Round trips"
    for proxy, samples in {
        "yardstick": (2.0, 2.0, 4.0),
        "bascule": (2.1, 2.1, 4.2),
        "nginx": (3.0, 3.0, 6.0),
        "chp": (10.0, 10.0, 20.0),
    }.items():
        for found.round, sample in enumerate(samples):
            found.add("messages", CASE, CPU, proxy, sample)
    found.round = 0
    found.absent["envoy"] = "envoy is not installed"
    found.about = {
        "command": "python -m bench run",
        "size": "full",
        "when": "2026-01-02T03:04:05+00:00",
        "commit": "abc",
        "processor": "a processor",
        "processors": 2,
        "memory_gib": 24,
        "kernel": "6.1",
        "python": "3.11",
        "compiler": "cc",
        "settings": {"net.ipv4.tcp_congestion_control": "cubic"},
        "proxy_on": [1],
        "load_on": [0],
        "versions": {"nginx": "1.2"},
        "tuning": {"nginx": "as advised"},
    }
    return found


def test_ratio_is_the_median_of_the_ratios_round_by_round() -> None:
    """A slow round slows both sides."""
    ratio = results().ratio("messages", CASE, "message_cpu", "bascule", "yardstick")
    assert ratio is not None
    assert round(ratio, 6) == 1.05


def test_ratio_pairs_samples_of_one_round_when_each_missed_another() -> None:
    """As many of each, but of different rounds: the slow one is not held against a calm one."""
    found = Results()
    taken = {"yardstick": {0: 2.0, 1: 6.0}, "bascule": {1: 6.6, 2: 2.2}}
    for proxy, samples in taken.items():
        for found.round, sample in samples.items():
            found.add("messages", CASE, CPU, proxy, sample)
    ratio = found.ratio("messages", CASE, "message_cpu", "bascule", "yardstick")
    assert ratio is not None
    assert round(ratio, 6) == 1.1


def test_ratio_without_a_common_round_is_that_of_the_medians() -> None:
    """Better than none."""
    found = Results()
    for found.round, (proxy, sample) in enumerate({"yardstick": 2.0, "bascule": 3.0}.items()):
        found.add("messages", CASE, CPU, proxy, sample)
    assert found.ratio("messages", CASE, "message_cpu", "bascule", "yardstick") == 1.5


def test_scenario_says_which_round_a_sample_is_of() -> None:
    """A proxy that fails in the second round has a sample of the first alone."""

    class Proxy(NamedTuple):
        name: str

    found = Results()
    context = Context(Fleet([], found), found, Progress(1), quick=False)

    def measure(stand: Proxy) -> None:
        if (stand.name, found.round) == ("chp", 1):
            raise LoadFailed("gone")
        found.add("messages", CASE, CPU, stand.name, 1.0)

    in_turn(context, cast("list[Stand]", [Proxy("nginx"), Proxy("chp")]), 3, "test", cast("Any", measure))
    rounds = {proxy: figure.rounds for (_, _, _, proxy), figure in found.figures.items()}
    assert rounds == {"nginx": [0, 1, 2], "chp": [0]}
    assert found.notes == ["chp, test: gone"]


def test_best_peer_is_neither_the_yardstick_nor_ourselves() -> None:
    """CHP is a peer, but not the best."""
    assert results().best_peer("messages", CASE, "message_cpu") == "nginx"


def test_raw_file_reads_back_as_written(tmp_path: Path) -> None:
    """Tables can be drawn again from it."""
    results().save(tmp_path / "raw.json")
    again = Results.load(tmp_path / "raw.json")
    assert again.as_json() == results().as_json()
    assert report.terminal(again) == report.terminal(results())


def test_raw_file_names_rounds_where_one_was_missed(tmp_path: Path) -> None:
    """So the files from before they were kept, in which none was, read as they are meant."""
    found = results()
    found.round = 4
    found.add("messages", CASE, CPU, "nginx", 3.0)
    found.save(tmp_path / "raw.json")
    figures = json.loads((tmp_path / "raw.json").read_text())["figures"]
    assert {one["proxy"]: one["rounds"] for one in figures if "rounds" in one} == {"nginx": [0, 1, 2, 4]}
    again = Results.load(tmp_path / "raw.json")
    assert again.figures == found.figures


def test_absent_proxies_are_named() -> None:
    """Not dropped silently."""
    assert "absent: envoy: envoy is not installed" in report.terminal(results())


def test_targets_are_judged_by_their_worst_case() -> None:
    """One case met, a worse one missed."""
    found = results()
    verdict = {v.target.text: v for v in targets.judge(found)}["CPU per small message, to the yardstick"]
    assert verdict.met
    worse = Case("500 sessions, 8 in flight", 64, "64 B")
    for proxy, sample in {"yardstick": 2.0, "bascule": 3.0}.items():
        found.add("messages", worse, CPU, proxy, sample)
    verdict = {v.target.text: v for v in targets.judge(found)}["CPU per small message, to the yardstick"]
    assert (verdict.met, verdict.worst) == (False, 1.5)


def test_what_was_not_measured_is_said() -> None:
    """Neither met nor missed."""
    assert {v.met for v in targets.judge(Results())} == {None}


def test_charts_are_well_formed_and_know_both_themes() -> None:
    """A browser draws them without the page's help."""
    drawn = charts.all_charts(results())
    assert "small-messages.svg" in drawn
    for svg in drawn.values():
        ElementTree.fromstring(svg)
        assert "prefers-color-scheme: dark" in svg


def test_publishing_replaces_only_what_is_between_the_marks(tmp_path: Path) -> None:
    """Twice, so that the second run replaces the first."""
    page = tmp_path / PAGE
    page.parent.mkdir()
    page.write_text(f"before\n{publish.BEGIN}\nold\n{publish.END}\nafter\n")
    publish.publish(results(), tmp_path)
    publish.publish(results(), tmp_path)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "CPU per small message, to the yardstick" in text
    tables = (tmp_path / TABLES).read_text()
    assert "| **bascule** | **2.10 \u00b125% (1.05\u00d7)** |" in tables
    assert "| envoy | absent | envoy is not installed |" in tables
    assert (tmp_path / LATEST / "results.json").exists()


def test_docs_show_what_the_committed_figures_publish(tmp_path: Path) -> None:
    """Else: python -m bench publish docs/reference/benchmarks-latest/results.json."""
    publish.publish(Results.load(DOCS / LATEST / "results.json"), tmp_path)
    made = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")}
    assert made == {PAGE, *(f"{LATEST}/{path.name}" for path in (DOCS / LATEST).iterdir())}
    assert [
        name for name in sorted(made) if (tmp_path / name).read_bytes() != (DOCS / name).read_bytes()
    ] == []


def test_notes_stand_on_both_pages(tmp_path: Path) -> None:
    """They qualify targets and tables."""
    found = results()
    found.note("the computer was busy")
    publish.publish(found, tmp_path)
    for name in (PAGE, TABLES):
        assert "\n- the computer was busy\n" in (tmp_path / name).read_text()


def test_publishing_elsewhere_begins_with_a_copy_of_the_page(tmp_path: Path) -> None:
    """What is not generated is the same there."""
    publish.publish(results(), tmp_path)
    before, _, _ = (DOCS / PAGE).read_text().partition(publish.BEGIN)
    assert (tmp_path / PAGE).read_text().startswith(before)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--smoke"], "is --smoke,"),
        (["--quick"], "is --quick,"),
        (["--only", "idle"], "has --only idle,"),
        (["--smoke", "--proxies", "bascule,nginx"], "is --smoke and has --proxies bascule,nginx,"),
        (["--only", "idle", "--into", str(DOCS)], "has --only idle,"),
    ],
)
def test_part_of_a_run_is_not_published(
    options: list[str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused before anything is measured."""
    monkeypatch.delenv("BENCH_ARGS", raising=False)
    monkeypatch.setattr("sys.argv", ["bench", "run", "--publish", *options])
    with pytest.raises(SystemExit, match=reason):
        main()


def test_raw_file_of_part_of_a_run_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither from what it left."""
    found = results()
    found.about["only"] = ["messages"]
    found.save(tmp_path / "raw.json")
    before = (DOCS / PAGE).read_bytes()
    monkeypatch.setattr("sys.argv", ["bench", "publish", str(tmp_path / "raw.json")])
    with pytest.raises(SystemExit, match="has --only messages,"):
        main()
    assert (DOCS / PAGE).read_bytes() == before
    monkeypatch.setattr("sys.argv", [*sys.argv, "--into", str(tmp_path / "elsewhere")])
    assert main() == 0
    assert "a processor" in (tmp_path / "elsewhere" / PAGE).read_text()
