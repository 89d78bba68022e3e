"""The kernel refuses a call now and then: a session is refused for it, or waits a little, and none is lost.

strace lets calls fail that no test can make fail otherwise, in each process of a running proxy.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.bascule import run_bascule
from tests.support.chatter import chatting
from tests.support.frames import CLOSE
from tests.support.parts import require
from tests.support.proctree import forwarders, gateways, kill
from tests.support.rawclient import connect, upgrade
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.bascule import RunningBascule
    from tests.support.rawupstream import RawUpstream

REFUSED: Final = {
    "accept4": ("EMFILE", "12+7"),
    "socket": ("ENOBUFS", "30+3"),
    "sendmsg": ("ETOOMANYREFS", "20+4"),
    "splice": ("ENOMEM", "1+2"),
    "pidfd_open": ("ENOMEM", "5"),
}
"""With which error calls of each process fail: the first one that does, and then each how many after it.

All that a start needs succeed, for that ends where it lacks something."""

FAULTS: Final = (
    "a control message cannot be read", "an admin call failed", "channel failed", "internal error",
    "log lines lost", "task failed", "unknown control message",
)  # fmt: skip

LARGE: Final = bytes(500_000)
"""More than is received at once, so that the rest is spliced."""


def _strace(log: Path) -> list[str]:
    """Return the command in front of the proxy, which keeps the process id that it is started with."""
    strace = str(require("strace"))
    probe = [strace, "-D", "-qq", "-e", "inject=getppid:error=EPERM", "-e", "trace=getppid", "true"]
    if refused := subprocess.run(probe, capture_output=True, text=True, timeout=60).stderr:
        pytest.skip(f"the kernel lets nobody trace here: {refused}")
    command = [strace, "-D", "-f", "--seccomp-bpf", "-qq", "-o", str(log)]
    for call, (error, when) in REFUSED.items():
        command += ["-e", f"inject={call}:error={error}:when={when}"]
    return [*command, "-e", f"trace={','.join(REFUSED)}"]


def _called(line: str) -> str:
    """Return the call that strace tells of, in one line or in the second of the two of a call that waited."""
    call = re.match(r"\d+ +(?:<\.\.\. )?(\w+)", line)
    assert call, line
    return call[1]


def _lives(bascule: RunningBascule) -> bool:
    """Open a session, and end it; or be told that there is none, and tell so."""
    client = connect(bascule.public_url)
    client.send(upgrade(b"/"))
    assert client.head().status == 101
    client.say(LARGE)
    said = client.reply()
    if is_refused := said.opcode == CLOSE:
        assert said.code == 1013
    else:
        assert said.payload == LARGE
        client.say(b"\x03\xe8", CLOSE)
        assert client.reply().code == 1000
    client.close()
    return not is_refused


@pytest.mark.timeout(120)
@pytest.mark.parametrize("pure", ["", "1"], ids=["compiled", "pure"])
def test_a_call_that_fails_costs_no_session_that_lives(
    tmp_path: Path, upstream: RawUpstream, pure: str
) -> None:
    calls = tmp_path / "calls"
    config = {
        "routes": [{"name": "all", "path": "/", "upstream": upstream.url}],
        "forwarders": {"count": 2},
        "limits": {"refusalHoldMax": 0},
    }
    with run_bascule(tmp_path, config, env={"BASCULE_PURE": pure}, under=_strace(calls)) as bascule:
        with chatting(bascule.public_url, 4) as chatter:
            outcomes = Counter(_lives(bascule) for _ in range(60))
            assert outcomes[True] > outcomes[False] > 0
            kill(gateways(bascule)[0])
            eventually(lambda: bascule.in_flight_if_up == 4, 20, "another one has taken the sessions over")
            chatter.progress()
            assert not chatter.ended
            kill(forwarders(bascule)[0])
            eventually(lambda: len(forwarders(bascule)) == 2, 20, "there is another one")
            eventually(lambda: len(chatter.living) == bascule.in_flight_if_up, 20, "its sessions are over")
            chatter.progress()
        eventually(lambda: bascule.in_flight_if_up == 0, 20, "no lease is left")
        eventually(lambda: _lives(bascule), 20, "sessions are taken")
        eventually(lambda: bascule.in_flight_if_up == 0, 20, "no lease is left")
        lines = bascule.log_lines
        assert [line for line in lines if "text" in line or line["event"].startswith(FAULTS)] == []
        assert sum(line["event"] == "a process died" for line in lines) == 2
    injected = [line for line in calls.read_text().splitlines() if "INJECTED" in line]
    assert {_called(line) for line in injected} == set(REFUSED)
