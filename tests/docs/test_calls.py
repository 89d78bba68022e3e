"""What the pages ask a proxy on this host is answered, and as they show it.

The session that a page closes is called ``1c3``, so 450 others are opened before it; full is full.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.docs.claims import claimed
from tests.support.bascule import RunningBascule, run_bascule
from tests.support.echo import run_echo
from tests.support.network import own_network
from tests.support.pages import Command
from tests.support.parts import require
from tests.support.rawclient import connected
from tests.support.terminal import Terminal, open_terminal

pytestmark = pytest.mark.real

CAP = 500
NAMED = 0x1C3


CAPACITY, LISTING, CLOSE, CLOSE_ALL = "-s http", "/sessions?kind", "/sessions/1c3", "/sessions?user"
GATE, DRAIN = "/admission", "/drain"
"""What tells the calls apart."""


def the(part: str) -> Command:
    """Return the only command that has this in it."""
    (found,) = (command for command in claimed(__name__) if part in command.text)
    return found


def test_every_call_is_one_that_is_made_here() -> None:
    made = {the(part).text for part in (CAPACITY, LISTING, CLOSE, CLOSE_ALL, GATE, DRAIN)}
    assert made == {command.text for command in claimed(__name__)}


@dataclass(frozen=True)
class Place:
    """A terminal beside a proxy that listens where the pages say."""

    terminal: Terminal
    proxy: RunningBascule
    held: ExitStack

    def open_sessions(self, count: int) -> None:
        for _ in range(count):
            self.held.enter_context(connected(self.proxy.public_url)).open(b"/", host=b"127.0.0.1:8080")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    require("curl")
    home = tmp_path / "proxy"
    home.mkdir()
    with own_network(), ExitStack() as held, run_echo() as echo:
        config = {
            "listen": "127.0.0.1:8080",
            "admin": "127.0.0.1:8081",
            "routes": [{"name": "lab", "kind": "jupyter", "path": "/", "upstream": echo}],
            "websocketProxy": {"maxSessionsPerApp": CAP},
        }
        proxy = held.enter_context(run_bascule(home, config))
        terminal = held.enter_context(open_terminal(tmp_path, at=tmp_path))
        yield Place(terminal, proxy, held)


def shape(value: Any) -> Any:
    """Return what an answer is made of: names and types, without what it says."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "number" if isinstance(value, int | float) else type(value).__name__


def test_the_answers_are_those_that_the_pages_show(place: Place) -> None:
    place.open_sessions(NAMED)

    capacity = the(CAPACITY)
    said = json.loads(place.terminal.run(capacity.text))
    assert shape(said) == shape(json.loads(capacity.shown))
    assert said["instance"]["level"] == json.loads(capacity.shown)["instance"]["level"]

    listing = the(LISTING)
    shown = json.loads(listing.shown.replace(", …", ""))
    nobody = json.loads(place.terminal.run(listing.text))
    assert (nobody["sessions"], nobody["total"]) == ([], 0), "nobody has been idle for an hour"
    rows = json.loads(place.terminal.run(listing.text.replace("minIdle=3600", "minIdle=0")))
    assert rows.keys() == shown.keys()
    assert rows["sessions"][0].keys() == shown["sessions"][0].keys()

    close = the(CLOSE)
    assert json.loads(place.terminal.run(close.text)) == json.loads(close.shown)

    of_ada = the(CLOSE_ALL)
    said = json.loads(place.terminal.run(of_ada.text))
    assert said.pop("closed") == 0, "nobody has signed in"
    assert said.items() < json.loads(of_ada.shown).items()


def test_the_gate_of_a_full_pod_answers_as_the_page_shows(place: Place) -> None:
    place.open_sessions(CAP)
    gate = the(GATE)
    head, _, body = place.terminal.type(gate.text).text.replace("\r", "").partition("\n\n")
    shown_head, _, shown_body = gate.shown.partition("\n\n")
    assert head.splitlines()[0] == shown_head.splitlines()[0]
    names = {line.partition(":")[0] for line in head.splitlines()[1:]}
    assert names >= {line.partition(":")[0] for line in shown_head.splitlines()[1:]}
    said, shown = json.loads(body), json.loads(shown_body)
    assert said["usrMsg"].startswith(shown.pop("usrMsg").removesuffix("…"))
    assert said.items() >= shown.items()


def test_a_proxy_without_a_token_is_drained_by_whoever_sends_the_field(place: Place) -> None:
    place.terminal.run(the(DRAIN).text)
    assert place.proxy.metric("ws_draining") == 1
