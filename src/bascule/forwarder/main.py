"""One forwarder: a thread, an epoll, and the sessions handed to it.

The loop: the engine relays until something needs attention, then channels (`gateways`), signs and
timers are served. The supervisor sends the forwarder a channel to the gateway, and
another when that gateway is replaced. While there is no gateway, sessions go on and
their outcomes wait.

When the control channel ends, the supervisor is stopping or dead: the forwarder ends
its sessions and leaves, so that no orphan remains. It ignores signals.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import signal
import socket
import time
from functools import partial
from typing import Final

from bascule.errors import HandoverError
from bascule.forwarder.gateways import Gateways
from bascule.forwarder.hot import Engine, Flow, count_allocations, describe
from bascule.forwarder.outbox import Outbox, count_outcome
from bascule.forwarder.relay import Relay
from bascule.forwarder.timers import Intervals
from bascule.handover import signals
from bascule.handover.control import (
    ASK_AGAIN,
    ChangeIntervals,
    ChannelLost,
    GatewayChannel,
    Misread,
    Ready,
    receive_control,
    send_control,
)
from bascule.handover.counters import TURN_EVERY, CounterFile, ForwarderWord
from bascule.handover.descriptors import PacketReader
from bascule.handover.messages import MAX_EARLY_BYTES
from bascule.handover.setup import ForwarderSetup
from bascule.protocol.closing import End

__all__ = ["Forwarder", "main"]

_RETRY: Final = 0.02
"""Seconds until a full channel is tried again."""

_LEAVING: Final = 10.0
"""Most seconds to end the sessions when the supervisor has gone; a closing handshake takes less."""


_LONGEST: Final = 2**63 - 1
"""The most that the pool's own reader of ``…Ms`` keys accepts, in milliseconds."""


class Forwarder:
    """The process's loop and its channels."""

    def __init__(self, setup: ForwarderSetup) -> None:
        counters = CounterFile(setup.counters, setup.forwarders)
        words = counters.forwarder(setup.slot)
        count_allocations(words, ForwarderWord.ALLOCATED_BYTES)
        self._words = words
        self._slot = setup.slot
        self._control = socket.socket(fileno=setup.control)
        self._engine = Engine(setup.read_buffer_bytes, words, MAX_EARLY_BYTES)
        self._outbox = Outbox(partial(count_outcome, words))
        self._relay = Relay(
            self._engine,
            words,
            intervals=_intervals(setup.heartbeat_ms, setup.pong, setup.idle_ms, setup.closing),
            report=self._outbox.put,
        )
        self._reader = PacketReader()
        self._gateways = Gateways(
            self._engine, self._relay, self._outbox, words, self._reader, self._has_missed
        )
        self._stopping_at = float("inf")
        self._ask_at = float("inf")
        self._lost = ChannelLost(setup.slot, 0)

    def run(self) -> None:
        """Serve until told to stop and no session is left."""
        # The supervisor decides when to stop and says so by closing the control channel. A service
        # manager that signals the whole group must not cut the drain short.
        for number in signals.HANDLED:
            signal.signal(number, signal.SIG_IGN)
        engine, relay, words = self._engine, self._relay, self._words
        engine.watch(self._control.fileno(), self._on_control)
        with contextlib.suppress(OSError):  # the supervisor has gone: the first turn finds that
            send_control(self._control, Ready(describe()))
        # Nothing the relay makes has cycles (tests/forwarder/test_garbage.py), so what is
        # alive now is alive for good and the collector need not look at it again.
        gc.collect()
        gc.freeze()
        gateways = self._gateways
        while not (gateways.are_gone and not relay.sessions):
            words[ForwarderWord.TURNS] += 1
            deadline = min(relay.next_at, self._stopping_at, self._ask_at, time.monotonic() + TURN_EVERY)
            if self._outbox or gateways.former:
                deadline = min(deadline, time.monotonic() + _RETRY)
            for target, found in engine.turn(deadline):
                if isinstance(target, Flow):
                    relay.on_signs(target, found)
                else:
                    target()
            now = time.monotonic()
            if relay.next_at <= now:
                relay.on_time(now)
            if self._outbox:
                self._outbox.send(gateways.channel)
            if gateways.former:
                gateways.tell_former()
            if now >= self._ask_at:
                self._ask_channel()
            if now >= self._stopping_at:
                return

    def _stop(self) -> None:
        """End every session and leave when the last one has gone."""
        if self._gateways.are_gone:
            return
        self._gateways.are_gone = True
        for identifier in list(self._relay.sessions):
            self._relay.end(identifier, End.DRAIN)
        self._stopping_at = time.monotonic() + _LEAVING

    # -- the supervisor ---------------------------------------------------------------

    def _on_control(self) -> None:
        try:
            message, packet = receive_control(self._reader, self._control)
        except BlockingIOError:
            return
        except HandoverError as error:
            # Whatever is wrong with the supervisor must not end the sessions here.
            with contextlib.suppress(OSError):  # full; or it has hung up, and we are leaving
                send_control(self._control, Misread(str(error)))
            return
        match message:
            case None:
                self._engine.unwatch(self._control.fileno())
                self._stop()
            case GatewayChannel(number) if not packet.complete:
                self._has_missed(number, "")
            case GatewayChannel(number):
                if not self._lost.problem:  # which is still to be told
                    self._ask_at = float("inf")  # any channel will do, even one that we did not ask for
                self._gateways.change(socket.socket(fileno=packet.descriptors[0]), number)
            case ChangeIntervals(heartbeat_ms, pong, idle_ms, closing):
                self._relay.change(_intervals(heartbeat_ms, pong, idle_ms, closing))
            case _:
                pass  # the rest is for gateways

    def _has_missed(self, number: int, problem: str) -> None:
        """Ask for another channel a little later.

        Args:
            number: Of a channel that did not fit, that epoll did not take, or that cannot be read.
            problem: What cannot be read on it; empty where it is one of the other two.
        """
        self._lost = ChannelLost(self._slot, number, problem)
        self._ask_at = min(self._ask_at, time.monotonic() + ASK_AGAIN)

    def _ask_channel(self) -> None:
        """Ask again for a channel that did not fit or could not be watched: a session may have ended."""
        try:
            send_control(self._control, self._lost)
            self._ask_at = float("inf")
        except OSError:  # full; or the supervisor has hung up, and we are leaving
            self._ask_at = time.monotonic() + ASK_AGAIN


def _intervals(heartbeat_ms: int, pong: float, idle_ms: int, closing: float) -> Intervals:
    """Return the intervals in seconds; the pool's keys have no upper bound, but a float has."""
    return Intervals(min(heartbeat_ms, _LONGEST) / 1000, pong, min(idle_ms, _LONGEST) / 1000, closing)


def main() -> None:
    """Run a forwarder with the setup named by the command line."""
    faulthandler.enable()  # tells where it stood when compiled code fails or the supervisor gives it up
    Forwarder(ForwarderSetup.read()).run()
