"""What a log line may hold, and what happens when it cannot be written."""

from __future__ import annotations

import json
import logging
import os
from typing import TYPE_CHECKING

import pytest
import structlog

from bascule.telemetry import linewriter
from bascule.telemetry.logs import TEXT_LIMIT, WITHHELD, configure

if TYPE_CHECKING:
    from tests.telemetry.logfile import Log

EVIL = "a\r\n\x1b[31mlevel=error\u2028b"
ESCAPED = "a\\r\\n\\x1b[31mlevel=error\\u2028b"


def test_a_json_line_begins_with_what_every_line_has(log: Log) -> None:
    log.configure()

    structlog.get_logger().info("listening", port=8080, ready=True)

    assert list(log.events()[0]) == ["time", "level", "process", "event", "port", "ready"]
    assert log.events()[0]["time"].endswith("Z")
    assert log.events()[0]["process"] == "gateway"


def test_what_is_below_the_level_is_not_written(log: Log) -> None:
    log.configure("warning")
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")
    logging.getLogger("bascule").info("quiet")
    assert [event["event"] for event in log.events()] == ["loud"]


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_peers_text_cannot_forge_a_line_or_rewrite_a_terminal(log: Log, style: str) -> None:
    log.configure(style=style)

    structlog.get_logger().info(EVIL, user_agent=EVIL, raw=EVIL.encode(), nested={"deep": [EVIL]})

    (line,) = log.path.read_text().split("\n")[:-1]
    assert line.isprintable()
    assert line.replace("\\\\", "\\").count(ESCAPED) >= 3


def test_json_shows_the_escaped_text_to_whoever_decodes_it(log: Log) -> None:
    log.configure()
    structlog.get_logger().info("odd", user_agent=EVIL)
    assert log.events()[0]["user_agent"] == ESCAPED


def test_secrets_are_withheld_and_paths_lose_their_queries(log: Log) -> None:
    log.configure()

    structlog.get_logger().info(
        "asked", cookie="session=abc", authorization="Bearer abc", token="abc", query="token=abc",
        target="/lab/?token=abc", path=b"/lab/?token=abc", referer="http://a/b?abc#abc",
    )  # fmt: skip

    (event,) = log.events()
    assert "abc" not in log.lines()[0]
    assert (event["cookie"], event["target"], event["path"]) == (WITHHELD, "/lab/", "/lab/")


def test_what_is_no_text_stays_what_it_is_under_any_name(log: Log) -> None:
    log.configure()
    structlog.get_logger().info("asked", target=None, path=7)
    assert (log.events()[0]["target"], log.events()[0]["path"]) == (None, 7)


def test_a_long_text_is_cut(log: Log) -> None:
    log.configure()
    structlog.get_logger().info("long", agent="x" * 100_000)
    assert len(log.events()[0]["agent"]) == TEXT_LIMIT + 1


def test_a_traceback_keeps_its_lines_and_loses_its_escapes(log: Log) -> None:
    log.configure()
    try:
        raise RuntimeError("\x1b[31m" + "x" * 5000)
    except RuntimeError:
        structlog.get_logger().exception("failed")

    traceback = log.events()[0]["exception"]
    assert traceback.startswith("Traceback")
    assert "\n" in traceback
    assert "\x1b" not in traceback
    assert "\\x1b[31m" in traceback
    assert len(traceback) < 4000


def test_the_console_shows_tracebacks_too(log: Log) -> None:
    log.configure(style="console")
    try:
        raise RuntimeError("\x1b[31mred")
    except RuntimeError:
        structlog.get_logger().exception("failed", port=1)

    text = log.path.read_text()
    assert "Traceback" in text
    assert "\x1b" not in text
    assert "port=1" in text


def test_libraries_write_the_same_lines(log: Log) -> None:
    log.configure()

    logging.getLogger("aiohttp.server").error("trouble with %s", EVIL)

    (event,) = log.events()
    assert (event["event"], event["logger"], event["level"]) == (
        f"trouble with {ESCAPED}",
        "aiohttp.server",
        "error",
    )
    assert event["process"] == "gateway"


def test_libraries_are_heard_from_warnings_upwards_and_access_logs_never(log: Log) -> None:
    log.configure("debug")
    logging.getLogger("asyncio").info("chatter")
    logging.getLogger("aiohttp.access").error("GET /?token=abc")
    assert log.lines() == []


def test_a_library_line_that_cannot_be_formatted_is_an_error_of_the_log(log: Log) -> None:
    log.configure()
    logging.getLogger("library").error("%d", "no number")
    (line,) = log.events()
    assert (line["event"], line["where"]) == ("internal error", "library")
    assert "TypeError" in line["exception"]


def test_a_value_without_a_json_form_is_shown_as_text(log: Log) -> None:
    log.configure()
    structlog.get_logger().info("odd", thing={1.5}, blob=[b"\x1b"])
    assert log.events()[0]["thing"] == "{1.5}"
    assert log.events()[0]["blob"] == ["b'\\x1b'"]


def test_auto_is_json_where_nobody_looks_and_console_on_a_terminal(log: Log) -> None:
    log.configure(style="auto")
    structlog.get_logger().info("plain")
    assert log.events()[0]["event"] == "plain"

    master, terminal = os.openpty()
    configure("info", "auto", process="gateway", descriptor=terminal)
    structlog.get_logger().info("shown")
    shown = os.read(master, 4096)
    os.close(master)
    os.close(terminal)
    assert b"shown" in shown
    assert not shown.startswith(b"{")


@pytest.mark.parametrize(("level", "style"), [("loud", "json"), ("info", "xml")])
def test_an_unknown_level_or_format_is_refused(level: str, style: str) -> None:
    with pytest.raises(ValueError, match="log level"):
        configure(level, style, process="gateway")


def test_a_pipe_that_nobody_reads_loses_lines_and_says_how_many_when_it_is_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(linewriter, "PATIENCE", 0.01)
    reading, writing = os.pipe()
    configure("info", "json", process="gateway", descriptor=writing)
    log = structlog.get_logger()
    for number in range(1000):
        log.info("one", number=number, text="x" * 1000)
    kept = [json.loads(line) for line in os.read(reading, 1_000_000).splitlines()]

    log.info("next")

    said, after = (json.loads(line) for line in os.read(reading, 1_000_000).splitlines()[-2:])
    os.close(reading)
    os.close(writing)
    assert [line["number"] for line in kept] == list(range(len(kept)))
    assert (said["event"], said["level"], said["lines"]) == ("log lines lost", "warning", 1000 - len(kept))
    assert after["event"] == "next"
