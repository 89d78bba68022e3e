"""The page on reloading: its command, typed at a proxy that runs, and the keys that it names."""

import re
import subprocess

from bascule.configuration.reloading import ONLY_AT_A_START
from tests.conftest import Start
from tests.docs.claims import claimed
from tests.support.parts import ROOT
from tests.support.waiting import eventually

(COMMAND,) = claimed(__name__)


def test_the_command_makes_a_running_proxy_load_its_configuration_again(bascule: Start) -> None:
    proxy = bascule({"routes": [{"name": "all", "path": "/", "upstream": "http://127.0.0.1:9"}]})
    proxy.change(websocketProxy={"maxSessionsPerApp": 7})
    typed = COMMAND.text.replace("PID", str(proxy.process.pid))
    subprocess.run(["sh", "-c", typed], check=True)
    eventually(
        lambda: any(line.get("event") == "configuration reloaded" for line in proxy.log_lines), 20, "it did"
    )


def test_the_keys_that_only_a_start_changes_are_those_of_the_page() -> None:
    page = (ROOT / "docs/howto/reload.md").read_text(encoding="utf-8")
    (sentence,) = re.findall(r"given at the start: ([^:]*?)\. A file", page)
    assert sorted(re.findall(r"`(.+?)`", sentence)) == sorted(map(".".join, ONLY_AT_A_START))
