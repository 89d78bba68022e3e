"""Ratios, tables, charts and the page come out of the figures as the page says they do."""

from pathlib import Path
from xml.etree import ElementTree

from bench.results import Case, Metric, Results

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
        for sample in samples:
            found.add("messages", CASE, CPU, proxy, sample)
    found.absent["envoy"] = "envoy is not installed"
    found.about = {
        "command": "python -m bench run",
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


def test_best_peer_is_neither_the_yardstick_nor_ourselves() -> None:
    """CHP is a peer, but not the best."""
    assert results().best_peer("messages", CASE, "message_cpu") == "nginx"


def test_raw_file_reads_back_as_written(tmp_path: Path) -> None:
    """Tables can be drawn again from it."""
    results().save(tmp_path / "raw.json")
    again = Results.load(tmp_path / "raw.json")
    assert again.as_json() == results().as_json()
    assert report.terminal(again) == report.terminal(results())


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
    page = tmp_path / "page.md"
    page.write_text(f"before\n{publish.BEGIN}\nold\n{publish.END}\nafter\n")
    publish.publish(results(), tmp_path / "latest", page)
    publish.publish(results(), tmp_path / "latest", page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "| envoy | absent | envoy is not installed |" in text
    assert (tmp_path / "latest" / "results.json").exists()
