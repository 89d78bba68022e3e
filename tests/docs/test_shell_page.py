"""The commands of the page on the shell, typed beside a proxy: they print what the page shows."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import jwt
import pytest

from tests.docs.claims import claimed
from tests.support.bascule import run_bascule
from tests.support.echo import run_echo
from tests.support.network import own_network
from tests.support.rawclient import connected
from tests.support.terminal import open_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.pages import Command

    Typed = Callable[[Command], str]

pytestmark = pytest.mark.real

KEY = "k" * 64
NAMED = 0x1C3
"""The session that the page closes, so others were there before it."""
CAP = 500


@pytest.fixture
def typed(tmp_path: Path) -> Iterator[Typed]:
    """Type a command beside a proxy where the defaults are, with as many sessions as the page needs."""
    home = tmp_path / "proxy"
    home.mkdir()
    (home / "key").write_text(KEY)
    with own_network(), ExitStack() as held, run_echo() as echo:
        config = {
            "listen": "127.0.0.1:8080",
            "admin": "127.0.0.1:8081",
            "auth": {"session": {"keyFile": str(home / "key")}},
            "routes": [{"name": "lab", "kind": "jupyter", "path": "/", "upstream": echo, "auth": "session"}],
            "websocketProxy": {"maxSessionsPerApp": CAP},
        }
        held.enter_context(run_bascule(home, config))
        claims = {"sub": "ada", "aud": "PROXY", "exp": int(time.time()) + 3600}
        login = b"Cookie: proxy_session=" + jwt.encode(claims, KEY, algorithm="HS512").encode()
        for _ in range(NAMED):
            held.enter_context(connected("http://127.0.0.1:8080")).open(b"/", login, host=b"127.0.0.1:8080")
        programs = Path(sys.executable).parent
        terminal = held.enter_context(open_terminal(tmp_path, at=tmp_path, path=(programs,)))
        yield lambda command: terminal.run(command.text)


def test_each_command_prints_what_the_page_shows(typed: Typed) -> None:
    by_words = {" ".join(command.text.split()[1:3]): command for command in claimed(__name__)}
    status, listing = by_words.pop("status"), by_words.pop("sessions --sort")
    said = typed(status).splitlines()
    names = [line[:13].strip() for line in status.shown.splitlines() if line != "…"]
    assert [line[:13].strip() for line in said[: len(names)]] == names
    assert f"{NAMED} of {CAP}" in said[1]
    heads, *rows = typed(listing).splitlines()
    assert heads.split() == listing.shown.splitlines()[0].split()
    assert len(rows) == NAMED

    assert typed(by_words.pop("sessions --count-by")).split() == ["USER", "SESSIONS", "ada", str(NAMED)]
    close = by_words.pop("close 1c3")
    assert typed(close).strip() == close.shown.strip()
    close = by_words.pop("close --user")
    number, ended = typed(close).strip().split(maxsplit=1)
    assert ended == close.shown.strip().split(maxsplit=1)[1]
    assert number == "0", "nobody has been there for so long"
    assert typed(by_words.pop("drain")).startswith("Draining; ")
    assert not by_words
