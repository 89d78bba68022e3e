"""The page on logins: its commands, typed at a proxy with its configuration, print what it shows."""

import sys
from pathlib import Path

import pytest

from tests.docs.claims import claimed
from tests.support.network import own_network
from tests.support.pages import fenced
from tests.support.parts import require
from tests.support.processes import Service, answers
from tests.support.terminal import open_terminal
from tests.support.waiting import eventually

pytestmark = pytest.mark.real

PAGE = "docs/howto/require-a-login.md"
MAKE_KEY, CHECK, SERVE, *TRANSCRIPT = claimed(__name__)


def test_a_login_opens_its_users_route_and_no_other(tmp_path: Path, project: Path) -> None:
    require("curl")
    (project / "bascule.yaml").write_text(fenced(PAGE, "yaml"))
    (tmp_path / "site/user/ada").mkdir(parents=True)
    web = [sys.executable, "-m", "http.server", "8888", "--bind", "127.0.0.1", "--directory", "site"]
    with own_network(), open_terminal(tmp_path, at=project) as terminal:
        application = Service("application", web, tmp_path / "application.log", cwd=tmp_path)
        try:
            application.wait_until(lambda: answers("http://127.0.0.1:8888/user/ada/"), 20)
            terminal.run(MAKE_KEY.text)
            terminal.run(CHECK.text)
            terminal.run(f"{SERVE.text} 2>log &")
            eventually(lambda: answers("http://127.0.0.1:8081/readyz"), 30, "it serves")
            printed = [terminal.type(command.text).text.strip() for command in TRANSCRIPT]
        finally:
            application.stop()

    assert printed == [one.shown for one in TRANSCRIPT]
    assert (project / "session.key").stat().st_mode & 0o777 == 0o600
