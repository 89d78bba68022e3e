"""What can happen to the processes of a proxy, and what becomes of the sessions."""

from __future__ import annotations

import signal
import time
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from bascule.handover.counters import ForwarderWord
from tests.faults.scene import Scene, State
from tests.support.proctree import gateways, kill
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["EVENTS", "Fate"]


class Fate(Enum):
    """What becomes of it; the value is the word on the page."""

    ON = "goes on"
    CUT = "cut"
    """The other peer is told as of a peer that is gone, and the session is counted as aborted."""
    LOST = "lost"
    """Both connections end without a word, and the session is counted as lost."""
    LOST_UNSEEN = "lost, no line"
    """The same, and nobody is left to log it."""
    UNKNOWN = "never was"
    """Both connections end before the browser had its 101, and nothing is counted."""
    COUNTED = "counted"
    """Its end was counted before."""


class Event(NamedTuple):
    """Something that happens, and what becomes of the sessions.

    Attributes:
        happens: Does it. The gateway and the first forwarder stand still; those that live go on after it.
        fates: Of the sessions in each state.
    """

    happens: Callable[[Scene], None]
    fates: dict[State, Fate]


def _at_once(scene: Scene, victims: list[int]) -> None:
    """Kill processes so that the supervisor finds all of them dead."""
    kill(scene.proxy.process.pid, signal.SIGSTOP)
    for victim in victims:
        kill(victim)
    kill(scene.proxy.process.pid, signal.SIGCONT)


def _gateway_killed(scene: Scene) -> None:
    kill(scene.gateway)


def _gateway_hung(scene: Scene) -> None:
    kill(scene.forwarders[0], signal.SIGCONT)
    scene.of(State.OFFERED)[0].hear_101()
    kill(scene.gateway)


def _forwarders_killed(scene: Scene) -> None:
    _at_once(scene, scene.forwarders)


def _forwarders_killed_unnoticed(scene: Scene) -> None:
    _forwarders_killed(scene)
    time.sleep(6)  # what is looked for is that the supervisor does not count meanwhile, and nothing tells


def _all_killed(scene: Scene) -> None:
    _at_once(scene, [scene.gateway, *scene.forwarders])


def _forwarders_stopped(scene: Scene) -> None:
    kill(scene.forwarders[1], signal.SIGSTOP)
    kill(scene.gateway, signal.SIGCONT)
    eventually(lambda: scene.proxy.in_flight == 10, 10, "all are known")


def _another_gateway_begins(scene: Scene) -> None:
    eventually(lambda: gateways(scene.proxy) not in ([], [scene.gateway]), 10, "another one begins")


def _forwarders_stopped_and_gateway_killed(scene: Scene) -> None:
    kill(scene.forwarders[1], signal.SIGSTOP)
    kill(scene.gateway)
    _another_gateway_begins(scene)


def _forwarders_stopped_and_all_killed(scene: Scene) -> None:
    _forwarders_stopped_and_gateway_killed(scene)
    _at_once(scene, scene.forwarders)


def _reloaded(scene: Scene) -> None:
    scene.proxy.hang_up()
    eventually(lambda: len(gateways(scene.proxy)) == 2, 10, "another one begins")


def _is_over(scene: Scene) -> None:
    scene.go_on()
    eventually(lambda: scene.proxy.events("configuration reloaded"), 20, "it serves")


def _reloaded_and_forwarders_killed(scene: Scene) -> None:
    _reloaded(scene)
    kill(scene.gateway, signal.SIGCONT)
    _at_once(scene, scene.forwarders)


def _reloaded_and_forwarders_replaced(scene: Scene) -> None:
    """The first forwarder has never taken another channel, and the former gateway hears last of its death."""
    _reloaded(scene)
    kill(scene.gateway, signal.SIGCONT)
    eventually(lambda: scene.proxy.events("configuration reloaded"), 20, "it serves")
    kill(scene.gateway, signal.SIGSTOP)
    words = scene.counters.forwarder(0)
    before = words[ForwarderWord.CHANNEL]
    _at_once(scene, scene.forwarders)
    eventually(lambda: words[ForwarderWord.CHANNEL] != before, 10, "the next one has its channel")


def _reloaded_and_former_killed(scene: Scene) -> None:
    _reloaded(scene)
    _is_over(scene)
    kill(scene.gateway)


_UNHARMED: Final = dict.fromkeys(State, Fate.ON) | {State.UNREAD: Fate.COUNTED}
_TLS_CUT: Final = _UNHARMED | {State.TLS: Fate.CUT}
_LOST: Final = dict.fromkeys(State, Fate.LOST) | {State.UNREAD: Fate.COUNTED}
_NOBODY_KNOWS: Final = dict.fromkeys(State, Fate.LOST_UNSEEN) | {
    State.OFFERED: Fate.UNKNOWN,
    State.UNREAD: Fate.COUNTED,
}

EVENTS: Final = {
    "the gateway dies": Event(_gateway_killed, _TLS_CUT),
    "the gateway hangs and is killed": Event(_gateway_hung, _TLS_CUT),
    "the forwarder dies": Event(_forwarders_killed, _LOST),
    "the forwarder dies while the gateway stands still": Event(_forwarders_killed_unnoticed, _LOST),
    "both die at once": Event(_all_killed, _NOBODY_KNOWS),
    "the forwarder stands still and goes on": Event(_forwarders_stopped, _UNHARMED),
    "… and the gateway dies meanwhile": Event(_forwarders_stopped_and_gateway_killed, _TLS_CUT),
    "… and then the forwarder too": Event(_forwarders_stopped_and_all_killed, _NOBODY_KNOWS),
    "a reload": Event(_reloaded, _UNHARMED),
    "a reload, and the forwarder dies": Event(_reloaded_and_forwarders_killed, _LOST),
    "… and the next one comes before the former gateway knows": Event(
        _reloaded_and_forwarders_replaced, _LOST
    ),
    "a reload, and the former gateway dies": Event(_reloaded_and_former_killed, _TLS_CUT),
}
