"""The README and the architecture page are true: their commands work, their links lead somewhere."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.support.echo import run_echo
from tests.support.parts import ROOT
from tests.support.processes import Service
from tests.support.waiting import eventually

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "fuzz").glob("*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
BASCULE = Path(sys.executable).parent / "bascule"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) + re.findall(r'(?:src|srcset)="([^"]+)"', text)
    missing = [
        link
        for link in links
        if not re.match(r"[a-z]+:", link) and not (page.parent / link).resolve().exists()
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    named = re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.MULTILINE))
    assert set(named) <= targets


def test_every_package_is_in_the_code_map_and_nothing_else() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    table = text.partition("## Code map")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([a-z]+)/`", table))
    packages = {path.parent.name for path in (ROOT / "src/bascule").glob("*/__init__.py")}
    assert named == packages


def test_every_file_the_architecture_names_exists() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    files = set(re.findall(r"`((?:[a-z_]+/)+[a-z_0-9]+\.(?:py|pyx))`", text))
    assert len(files) > 20
    assert [name for name in sorted(files) if not (ROOT / "src/bascule" / name).exists()] == []


def test_the_readmes_serve_command_serves(tmp_path: Path) -> None:
    command = re.search(r"^\.venv/bin/bascule (serve --upstream) \S+ (--kind jupyter)$", README, re.MULTILINE)
    assert command, "the README shows how to serve one upstream"
    with run_echo() as echo:
        words = [
            *command[1].split(),
            echo,
            *command[2].split(),
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
        ]
        service = Service(
            "bascule", [BASCULE, *words, "--log-format", "json"], tmp_path / "log", cwd=tmp_path
        )
        try:
            said = service.wait_until(lambda: _public(service.log), 30)
            with connect(f"ws://{said}/") as ws:
                ws.send("hello")
                assert ws.recv() == "hello"
        finally:
            assert service.stop(20) == 0


def _public(log: Path) -> str | None:
    found = re.search(r'"public":"([^"]+)"', log.read_text(errors="replace"))
    return found[1] if found else None


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_make_demo_prints_one_address_that_answers_and_ends_cleanly(stop: signal.Signals) -> None:
    installed = Path(sys.prefix).resolve() == (ROOT / ".venv").resolve()
    command = ["make", "--no-print-directory", "demo"] if installed else [str(BASCULE), "demo"]
    demo = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0
    )
    try:
        assert demo.stdout is not None
        address = _address(demo.stdout.readline)
        with urllib.request.urlopen(address, timeout=10) as page:
            assert b"<title>" in page.read()
        with connect(address.replace("http", "ws") + "echo") as ws:
            ws.send("hello")
            assert ws.recv(timeout=10) == "hello"
        os.killpg(demo.pid, stop)
        demo.wait(20)
        said = demo.stdout.read()
        assert "Traceback" not in said
        assert "died" not in said
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(demo.pid, signal.SIGKILL)
        demo.communicate()


def _address(readline: Callable[[], str]) -> str:
    """Return the address that is printed."""
    lines: list[str] = []

    def look() -> str | None:
        lines.append(readline())
        found = re.search(r"http://\S+", lines[-1])
        return found[0] if found else None

    return eventually(look, 60, "the demo prints its address")
