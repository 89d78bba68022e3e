"""The commands of the runbooks, and of the pages that send somebody to a pod, typed one after the other."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.docs.claims import claimed
from tests.docs.oncall import PLACEHOLDERS, Operator, filled_in, operator_of_a_pod
from tests.support.pages import Command
from tests.support.parts import ROOT
from tests.support.waiting import eventually

pytestmark = pytest.mark.real

COMMANDS = claimed(__name__)
REACH = [command for command in COMMANDS if command.page == "docs/runbooks/index.md"]
DRAIN = [command for command in COMMANDS if command.page == "docs/howto/drain-and-upgrade.md"]
# Rolled back first: Helm 4 does not take back a number that somebody has set since (docs/howto/helm.md).
LOOK = sorted(
    (command for command in COMMANDS if command not in {*REACH, *DRAIN}),
    key=lambda command: " rollback " not in command.text,
)


LIST_OF_SESSIONS = filled_in("kubectl -n NS exec POD -- bascule sessions --ids")


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    with operator_of_a_pod(tmp_path) as somebody:
        yield somebody


def forwards() -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", 8081)) == 0


def do(operator: Operator, command: Command) -> str:
    """Type a command; one in the background is given until its port is open."""
    said = operator.terminal.run(filled_in(command.text))
    if command.text.endswith("&"):
        eventually(forwards, 20, command.text)
    elif not command.text.startswith("TOKEN="):
        assert said, f"{command} prints nothing"
    return said


def deployment(operator: Operator) -> dict[str, Any]:
    name = PLACEHOLDERS["DEPLOYMENT"]
    found = operator.cluster.store.get(f"/apis/apps/v1/namespaces/hopsworks/deployments/{name}")
    assert found is not None
    return found


def listed(operator: Operator) -> str | None:
    """Return the id of a session that the pod lists; the list may be a second old."""
    return operator.terminal.run(LIST_OF_SESSIONS).strip() or None


@contextmanager
def a_session(operator: Operator) -> Iterator[tuple[ClientConnection, str]]:
    """Open one; yields it and its id when the pod lists it."""
    pod = operator.pod
    assert pod is not None
    eventually(lambda: pod.in_flight == 0 and listed(operator) is None, 20, "the only slot is free")
    with connect(pod.public_url.replace("http", "ws") + "/echo") as session:
        yield session, eventually(lambda: listed(operator), 20, "it is listed")


def close_a_session(operator: Operator, command: Command) -> None:
    """Type a command that closes a session: with the id of one, or a filter that it passes."""
    with a_session(operator) as (session, its):
        typed = filled_in(command.text).replace(" ID", f" {its}").replace(" --min-idle 12h", "")
        operator.terminal.run(typed.replace("--user ada", "--route echo"))  # nobody logs in here
        with pytest.raises(ConnectionClosed) as closed:
            session.recv(timeout=20)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


def count_sessions(operator: Operator, command: Command) -> None:
    """Type a command that counts whose sessions there are."""
    with a_session(operator):
        assert re.search(r"^(-|127\.0\.0\.1) +1$", do(operator, command), re.MULTILINE)


def test_every_runbooks_commands_find_what_the_page_looks_for(operator: Operator) -> None:
    for command in [*REACH, *LOOK]:
        before = deployment(operator)["spec"]["replicas"]
        if " bascule close " in command.text:
            close_a_session(operator, command)
        elif " --count-by " in command.text:
            count_sessions(operator, command)
        else:
            do(operator, command)
        if " scale " in command.text:
            assert deployment(operator)["spec"]["replicas"] == before + 2
        if " rollback " in command.text:
            assert operator.cluster.store.below("/apis/autoscaling/v2/horizontalpodautoscalers") == []


def test_the_index_explains_what_the_pages_leave_to_the_reader() -> None:
    text = "\n".join(command.text for command in COMMANDS if command.page.startswith("docs/runbooks/"))
    index = (ROOT / "docs/runbooks/index.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^\| `([A-Z]+)` \|", index, re.MULTILINE))
    assert explained <= PLACEHOLDERS.keys()
    assert {name for name in PLACEHOLDERS if re.search(rf"\b{name}\b", text)} <= explained
    # What one installation calls its own is no reader's.
    assert not [word for word in re.findall(r"(?:deployment/| -n )(\S+)", text) if word not in explained]


def test_a_pod_is_drained_by_hand_and_then_goes_with_its_node(operator: Operator) -> None:
    assert operator.pod is not None
    assert operator.pod.metric("ws_draining") == 0
    *by_hand, node = DRAIN
    for command in by_hand:
        do(operator, command)
    assert operator.pod.metric("ws_draining") == 1
    do(operator, node)
    assert operator.pod.process.process.poll() == 0
    pods = operator.cluster.store.below("/api/v1/namespaces/hopsworks/pods")
    assert PLACEHOLDERS["POD"] not in {pod["metadata"]["name"] for pod in pods}
