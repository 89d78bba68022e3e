"""The command of the page on reloading, typed at a proxy that runs."""

import subprocess

from tests.conftest import Start
from tests.docs.claims import claimed
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
