"""What children say, and what goes wrong at a reload, ends nothing. The rest: tests/sessions."""

from __future__ import annotations

import contextlib
import errno
import gc
import itertools
import signal
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from bascule.configuration.config import Config
from bascule.configuration.loading import Loaded
from bascule.handover.control import (
    ASK_AGAIN,
    ChangeIntervals,
    ChannelLost,
    DrainBegun,
    Misread,
    Prepared,
    Serve,
    read_control,
    send_control,
)
from bascule.handover.descriptors import PacketReader
from bascule.handover.messages import MAX_PACKET_BYTES
from bascule.supervisor import main
from bascule.supervisor.main import Supervisor
from bascule.supervisor.sockets import Listeners
from tests.support.descriptors import open_descriptors
from tests.support.waiting import eventually

if TYPE_CHECKING:
    import selectors
    from collections.abc import Iterator

    from bascule.gateway.setup import GatewaySetup
    from bascule.handover.control import ControlMessage
    from bascule.supervisor.child import Child

SINCE = 7.5
"""What the drain of the gateway that dies began at."""

Talks = Callable[..., None]

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # the test's threads


@pytest.fixture
def talks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Talks]:
    """Return what makes of each gateway one that says some things in one instant, and is gone."""

    def make(*said: ControlMessage | bytes) -> None:
        def be_a_gateway(setup: GatewaySetup) -> None:
            control = socket.socket(fileno=setup.control)
            for one in said:
                if isinstance(one, bytes):
                    control.send(one)
                else:
                    send_control(control, one)

        monkeypatch.setattr("bascule.gateway.main.main", be_a_gateway)

    yield make
    gc.unfreeze()


@contextlib.contextmanager
def supervising() -> Iterator[Supervisor]:
    """Have a supervisor that has started nothing yet."""
    config = Config.model_validate(
        {"listen": "127.0.0.1:0", "admin": "127.0.0.1:0", "forwarders": {"count": 1}}
    )
    with contextlib.closing(Listeners.open(config)) as listeners:
        yield Supervisor(Loaded(config, {}), listeners, None)


@contextlib.contextmanager
def after_its_death() -> Iterator[Supervisor]:
    """Let a gateway talk and die, and the supervisor take one turn of its loop."""
    with supervising() as supervisor:
        gateway = supervisor._gateways.serving
        supervisor._children.start(gateway)
        assert gateway.process is not None
        assert gateway.process.wait() == 0

        # One turn of the loop: what is ready is looked at once, unless it was closed meanwhile.
        for key, _ in supervisor._selector.select(10):
            if supervisor._selector.get_map().get(key.fd) is key:
                key.data()

        assert not gateway.alive
        yield supervisor


def test_of_a_process_that_cannot_be_watched_nothing_is_left(
    talks: Talks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(child: Child) -> None:
        raise OSError(errno.ENOSPC, "no epoll watch")

    talks(Prepared())
    with supervising() as supervisor:
        children, gateway = supervisor._children, supervisor._gateways.serving
        before = len(supervisor._selector.get_map())
        with monkeypatch.context() as patch:
            patch.setattr(children._prints, "watch", fail)
            with pytest.raises(OSError, match="no epoll watch"):
                children.start(gateway)
        assert (gateway.alive, gateway.control) == (False, None)
        assert len(supervisor._selector.get_map()) == before
        children.start(gateway)  # with the same numbers of descriptors
        children._on_death(gateway)


def test_all_that_a_child_said_counts_though_it_has_died(talks: Talks) -> None:
    """A drain that had just begun must go on: here its message is the second of two, both unread."""
    talks(Prepared(), DrainBegun(SINCE))
    with after_its_death() as supervisor:
        assert supervisor._gateways.serving.prepared
        assert supervisor._shutdown.draining_since == SINCE


@pytest.mark.parametrize("which", range(3), ids=("control", "pidfd", "prints"))
def test_a_process_that_could_not_be_watched_leaves_nothing_to_the_next(
    talks: Talks, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    talks()
    with supervising() as supervisor:
        children, gateway, selector = supervisor._children, supervisor._gateways.serving, supervisor._selector
        register, times = selector.register, itertools.count()

        def refuse_once(*watch: Any) -> selectors.SelectorKey:
            if next(times) == which:
                raise OSError(errno.ENOSPC, "no watch is left")
            return register(*watch)

        monkeypatch.setattr(selector, "register", refuse_once)
        before = open_descriptors()
        with pytest.raises(OSError, match="no watch"):
            children.start(gateway)
        assert not gateway.alive
        assert not selector.get_map()
        assert open_descriptors() == before
        children.start(gateway)  # whose descriptors have the same numbers
        assert len(selector.get_map()) == 3
        assert gateway.process is not None
        assert gateway.process.wait() == 0
        children._on_death(gateway)


def test_a_gateway_that_waits_for_forwarders_has_no_longer_to_hang_than_one_that_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It counts turns by then; with the longer time of one that starts, nobody would serve for a minute."""

    def hang(setup: GatewaySetup) -> None:
        send_control(socket.socket(fileno=setup.control), Prepared())
        signal.pause()

    monkeypatch.setattr("bascule.gateway.main.main", hang)
    with supervising() as supervisor, capture_logs() as lines:
        gateway = supervisor._gateways.serving
        supervisor._children.start(gateway)
        assert gateway.process is not None
        eventually(lambda: supervisor._children._on_control(gateway), 10, "it is prepared")
        for _ in range(int(supervisor._config.watchdog) + 1):
            supervisor._watchdog.run()
        gateway.kill(gateway.process.pid)
        gateway.process.wait()
        gateway.hang_up()
        assert [line["pid"] for line in lines if line["event"] == "a process hangs"] == [gateway.process.pid]
    gc.unfreeze()


def test_a_gateway_that_waits_to_be_started_again_is_not_where_a_reload_has_begun(talks: Talks) -> None:
    """It would be killed as its successor takes over, and count as another one that died."""
    talks()
    with after_its_death() as supervisor:
        waiting = supervisor._gateways.serving
        supervisor._gateways.prepare()
        supervisor._on_time(time.monotonic() + 60)
        assert not waiting.alive
        supervisor._succession.on_successors_death("SIGKILL")
        assert supervisor._gateways.serving.alive, "now there is none but this"
        assert waiting.process is not None
        assert waiting.process.wait() == 0
        waiting.hang_up()


@pytest.mark.parametrize(
    "nonsense",
    [b"no JSON", b"1", b'["Unheard", {}]', b'["DrainBegun", {"until": 1}]', b"x" * (MAX_PACKET_BYTES + 1)],
    ids=["no JSON", "a number", "an unknown name", "another field", "too long"],
)
def test_what_makes_no_sense_is_told_and_ends_nothing(talks: Talks, nonsense: bytes) -> None:
    talks(nonsense, DrainBegun(SINCE))
    with capture_logs() as lines, after_its_death() as supervisor:
        assert supervisor._shutdown.draining_since == SINCE, "it is heard on"
    assert [line["child"] for line in lines if line["event"] == "a control message cannot be read"] == [
        "gateway"
    ]


def test_what_a_forwarder_could_not_read_is_in_the_log_which_it_cannot_write_itself() -> None:
    with supervising() as supervisor, capture_logs() as lines:
        (forwarder,) = supervisor._forwarders
        supervisor.on_message(forwarder, Misread("what is no control message"))
        supervisor.on_message(forwarder, ChannelLost(0, 7, "unknown message type b'x'"))
    assert [line["event"] for line in lines] == ["a control message cannot be read", "channel failed"]
    assert lines[0]["child"] == "forwarder-0"
    assert (lines[1]["slot"], lines[1]["error"]) == (0, "unknown message type b'x'")


def test_listening_sockets_that_take_no_other_options_hold_no_reload_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("Protocol not available")

    monkeypatch.setattr(Listeners, "set_options", refuse)
    monkeypatch.setattr(main, "configure", lambda *_, **__: None)  # the log is the test's
    with supervising() as supervisor, capture_logs() as lines:
        child, ours = supervisor._gateways.serving, supervisor._gateways.serving.new_control()
        with ours:
            supervisor.go_over()
            assert read_control(PacketReader().receive(ours).data) == Serve([], None, reloaded=True)
        child.hang_up()
    assert [line["event"] for line in lines] == ["the listening sockets keep their old options"]


def test_a_forwarder_that_does_not_read_is_told_of_the_intervals_when_it_does() -> None:
    with supervising() as supervisor, capture_logs() as lines:
        (forwarder,) = supervisor._forwarders
        with forwarder.new_control() as theirs:
            reader = PacketReader()
            assert forwarder.control is not None
            with contextlib.suppress(BlockingIOError):
                while forwarder.control.send(b"not read yet"):
                    pass
            supervisor._orders.change_intervals(forwarder)
            with contextlib.suppress(BlockingIOError):
                while reader.receive(theirs).data == b"not read yet":
                    pass
            supervisor._on_time(time.monotonic() + ASK_AGAIN)
            told = read_control(reader.receive(theirs).data)
        forwarder.hang_up()
    assert isinstance(told, ChangeIntervals)
    assert [line["event"] for line in lines] == ["not told of the intervals"]
