"""The README and the architecture page are true: their commands work, their links lead somewhere."""

import contextlib
import os
import re
import signal
import subprocess
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.docs.claims import claimed
from tests.support.echo import run_echo
from tests.support.network import own_network
from tests.support.pages import Command
from tests.support.parts import ROOT, require
from tests.support.processes import Service, answers
from tests.support.waiting import eventually

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "fuzz").glob("*.md")])
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
DEMO, SERVE, DEMO_JUPYTER = claimed(__name__)


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


def test_the_index_leads_to_every_page() -> None:
    docs = ROOT / "docs"
    links = re.findall(r"\]\(([^)#]+)", (docs / "README.md").read_text(encoding="utf-8"))
    found = {(docs / link).resolve() for link in links}
    pages = {page for page in docs.rglob("*.md") if page.parent.name != "runbooks"} - {docs / "README.md"}
    assert pages - found == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    named = re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.MULTILINE))
    assert set(named) <= targets


@pytest.mark.parametrize("page", ["README.md", "docs/howto/systemd.md"])
def test_a_page_says_which_pythons_it_runs_with(page: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    versions = [found[1] for one in project["classifiers"] if (found := re.search(r":: (3\.\d+)$", one))]
    assert f"with Python {versions[0]} to {versions[-1]}." in (ROOT / page).read_text(encoding="utf-8")


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A place where make knows that everything is installed, and nothing is."""
    needed = {"requirements", "pyproject.toml", "setup.py", "src/bascule/forwarder/_hot.pyx"}
    for name in ("Makefile", *needed):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "build").mkdir()
    for stamp in ("installed", "developed"):
        (tmp_path / f"build/.{stamp}").touch()
    return tmp_path


def test_an_environment_that_was_removed_is_filled_again(made: Path) -> None:
    would = subprocess.run(
        ["make", "--dry-run", "install"], cwd=made, check=True, capture_output=True, text=True
    )
    assert "-m pip install" in would.stdout


def test_asking_for_help_changes_no_file(made: Path) -> None:
    before = sorted(made.rglob("*"))
    subprocess.run(["make", "help"], cwd=made, check=True, capture_output=True)
    assert sorted(made.rglob("*")) == before


@pytest.mark.parametrize(
    ("target", "tool"),
    [
        ("format", "ruff"),
        ("shell", "shellcheck"),
        ("javascript", "oxlint"),
        ("types", "mypy"),
        ("layers", "lint-imports"),
        ("drift", "python"),
    ],
)
@pytest.mark.parametrize("status", [0, 1])
def test_a_check_fails_when_its_tool_does(made: Path, target: str, tool: str, status: int) -> None:
    # The status of lint-imports was lost in a pipe.
    tools = made / ".venv/bin"
    tools.mkdir(parents=True)
    for name in {"python", tool}:
        (tools / name).write_text(f"#!/bin/sh\nexit {status}\n")
        (tools / name).chmod(0o755)
    done = subprocess.run(["make", target], cwd=made, capture_output=True, check=False)
    assert bool(done.returncode) is bool(status), done.stderr


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


@pytest.mark.real
def test_the_readmes_serve_command_serves(project: Path) -> None:
    with own_network(), run_echo(8888):
        service = Service("bascule", ["bash", "-c", f"exec {SERVE.text}"], project / "log", cwd=project)
        try:
            service.wait_until(lambda: answers("http://127.0.0.1:8081/readyz"), 30)
            with connect("ws://127.0.0.1:8080/") as ws:
                ws.send("hello")
                assert ws.recv() == "hello"
        finally:
            assert service.stop(20) == 0


@contextlib.contextmanager
def started(command: Command, project: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start what prints one address; yields both."""
    demo = subprocess.Popen(
        ["bash", "-c", command.text],
        cwd=project,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )
    try:
        assert demo.stdout is not None
        yield demo, _address(demo.stdout.readline)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(demo.pid, signal.SIGKILL)
        demo.communicate()


def ended(demo: subprocess.Popen[str], stop: signal.Signals) -> str:
    """Stop all of it; returns the rest of what it says."""
    os.killpg(demo.pid, stop)
    demo.wait(30)
    assert demo.stdout is not None
    return demo.stdout.read()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_make_demo_prints_one_address_that_answers_and_ends_cleanly(
    stop: signal.Signals, project: Path
) -> None:
    with started(DEMO, project) as (demo, address):
        with urllib.request.urlopen(address, timeout=10) as page:
            assert b"<title>" in page.read()
        with connect(address.replace("http", "ws") + "echo") as ws:
            ws.send("hello")
            assert ws.recv(timeout=10) == "hello"
        said = ended(demo, stop)
        assert "Traceback" not in said
        assert "died" not in said


@pytest.mark.real
def test_make_demo_jupyter_puts_a_real_jupyterlab_and_streamlit_behind_it(project: Path) -> None:
    for part in ("jupyter", "streamlit"):
        require(part)
    with started(DEMO_JUPYTER, project) as (demo, address):
        assert answers(f"{address}lab/api")
        assert answers(f"{address}app/_stcore/health")
        assert "Traceback" not in ended(demo, signal.SIGTERM)


def _address(readline: Callable[[], str]) -> str:
    """Return the address that is printed."""
    lines: list[str] = []

    def look() -> str | None:
        lines.append(readline())
        found = re.search(r"http://\S+", lines[-1])
        return found[0] if found else None

    return eventually(look, 60, "the demo prints its address")
