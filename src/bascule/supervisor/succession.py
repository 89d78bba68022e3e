"""How one gateway follows another with another configuration, while the sessions go on.

In order:

1. the supervisor loads the configuration again, and checks it;
2. it starts a successor with that configuration, which reports when it has all it needs. If anything fails
   until then, all goes on as before;
3. the serving gateway stops accepting, gives handshakes under way a moment, and reports that it has retired;
4. the forwarders tell the successor which sessions they carry, and it serves;
5. the former gateway finishes what it has begun, and leaves (`bascule.supervisor.overtime`).

Rules of this file: it decides which processes start; the supervisor starts and watches them.
"""

from __future__ import annotations

import contextlib
import signal
import time
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from bascule.configuration.certificate import check_certificates
from bascule.configuration.loading import check_files, placed
from bascule.configuration.reloading import check_reload
from bascule.errors import ConfigError
from bascule.handover.control import NotReloaded, Retire, send_control
from bascule.supervisor.overtime import ChildrenToLeave, Overtime
from bascule.supervisor.renewal import Renewal
from bascule.supervisor.sockets import check_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from bascule.configuration.loading import Loaded
    from bascule.supervisor.agenda import DoLater
    from bascule.supervisor.child import Child
    from bascule.supervisor.gateways import Gateways

__all__ = ["ChildrenToStart", "Succession", "SuccessionHost"]

_log = structlog.get_logger()

_PREPARE: Final = 60.0
"""Seconds that a successor may take to have all it needs; then it is killed."""

_RETIRE: Final = 10.0
"""Seconds after which the serving gateway, told to retire, is killed if its loop stood still all along."""

_RETIRE_AT_MOST: Final = 30.0
"""Seconds after which it is killed in any case, for no gateway accepts meanwhile. It needs seven, but may be
short of CPU time, and its death ends sessions with TLS and handshakes under way."""


class ChildrenToStart(ChildrenToLeave, Protocol):
    """What this file needs of `bascule.supervisor.children.Children`."""

    def start(self, child: Child) -> None:
        """Start a process.

        Raises:
            OSError: The process could not be started.
        """

    def start_again(self, child: Child) -> None:
        """Start a process that died; try again later if it cannot be started now."""

    def turns_of(self, child: Child) -> int:
        """Return how often the loop of a process has gone round, as it counts that."""


class SuccessionHost(Protocol):
    """What this file needs of the supervisor."""

    def go_over(self) -> None:
        """Tell the gateway that is to serve to do so, and apply the configuration in force to all else."""

    @property
    def is_leaving(self) -> bool:
        """Whether the proxy stops."""


class Succession:
    """The configuration in force, and the one that is to follow it.

    Args:
        loaded: The configuration in force at the start.
        gateways: All gateways; this class decides which one serves.
        children: All children.
        host: The supervisor.
        do_later: Calls something after that many seconds.

    Attributes:
        loaded: The configuration in force.
        wanted: The configuration of the successor; without a successor, the one in force.
    """

    def __init__(
        self,
        loaded: Loaded,
        gateways: Gateways,
        children: ChildrenToStart,
        host: SuccessionHost,
        do_later: DoLater,
    ) -> None:
        self.loaded = self.wanted = loaded
        self._gateways = gateways
        self._children = children
        self._host = host
        self._do_later = do_later
        self._renewal = self._next_renewal = Renewal.of_named(loaded.config)
        self._edits = Renewal(loaded.files)
        self._overtime = Overtime(gateways, children, do_later)
        self._next_load: Callable[[], Loaded] | None = None
        self._renews = False
        self._failed_to_load = self._failed_to_renew = False

    @property
    def reloaded(self) -> bool:
        """Whether the configuration that was asked for last, with the files it names, is in force."""
        return not (self._failed_to_load or self._failed_to_renew)

    def begin(self, load: Callable[[], Loaded]) -> None:
        """Load a configuration, and start a successor with it.

        While another successor is about to take over, or the serving gateway still starts, this is put off
        until then: what that gateway has read may be older.
        """
        if self._host.is_leaving:
            return
        gateways = self._gateways
        serving = gateways.serving
        if gateways.successor is not None or (serving.alive and not serving.ready):
            self._next_load = load
            return
        self._renews = load == self._as_it_is
        try:
            if not self._renews:
                self._edits.taken()
            self.wanted = load()
            # Before the successor reads the files: one that is renewed from now on counts as renewed again.
            self._next_renewal = Renewal.of_named(self.wanted.config)
            check_files(self.wanted.config)
            check_certificates(self.wanted.config)
            check_reload(self.loaded.config, self.wanted.config)
            check_options(self.wanted.config.sockets)
            successor = gateways.prepare()
            if successor is None:
                left = len(gateways.former)
                self._overtime.end(self.wanted.config.former_gateway_timeout)
                raise ConfigError([f"{left} former gateways have work left; try again when one has finished"])
            self._children.start(successor)
            self._end_if_late(
                successor, _PREPARE, lambda: successor is gateways.successor and not gateways.prepared
            )
        except ConfigError as error:
            self._fail(placed(error.problems, self.wanted.places))
        except OSError as error:
            gateways.successor = None
            self._fail([f"cannot start a process: {error}"])
        except Exception as fault:
            # Whatever a file holds: one that cannot be read must not end live sessions.
            _log.error("internal error", exc_info=fault)
            gateways.successor = None
            self._fail(["internal error: see the line before"])

    def look_for_renewal(self, load: Callable[[], Loaded] | None) -> None:
        """Begin a reload if files were renewed.

        The files of the configuration itself count only with ``reloadOnChange``: otherwise an operator
        edits them, and signals when that is done. Certificates, keys and tokens always count.

        Args:
            load: Loads the configuration again; ``None`` if it came from no file that could change.
        """
        if self._next_load is not None:
            return  # a reload that is put off reads all files; if it fails, we look at them again
        if load is not None and self.loaded.config.reload_on_change and self._edits.look():
            _log.info("a configuration file has changed")
            self.begin(load)
        elif self._renewal.look():
            _log.info("a file was renewed")
            self.begin(self._as_it_is)

    def _as_it_is(self) -> Loaded:
        """Load nothing: the configuration in force stays, with files that were renewed."""
        return self.loaded

    def go_on(self) -> None:
        """Begin a reload that was put off, now that no gateway is about to take over or to serve."""
        load, self._next_load = self._next_load, None
        if load is not None:
            self.begin(load)

    def _fail(self, problems: list[str]) -> None:
        """Log why a reload failed, and tell the serving gateway; the configuration in force stays."""
        self.wanted = self.loaded
        if self._host.is_leaving:
            return
        if self._renews:
            self._failed_to_renew = True
            self._renewal.failed()
        else:
            self._failed_to_load = True
            self._edits.failed()
        for problem in problems:
            _log.error("configuration not reloaded", problem=problem)
        if (control := self._gateways.serving.control) is not None:
            with contextlib.suppress(OSError):  # it has just died
                send_control(control, NotReloaded())
        self.go_on()

    def _end_if_late(self, child: Child, seconds: float, is_late: Callable[[], bool]) -> None:
        """Kill a gateway that is late after ``seconds``; its pidfd tells the rest."""
        assert child.process is not None
        pid = child.process.pid
        self._do_later(seconds, lambda: child.kill(pid) if is_late() else None)

    # -- what gateways say, and their deaths ------------------------------------------------------

    def on_prepared(self) -> None:
        """The successor has all it needs: ask the gateway that serves to retire."""
        gateways = self._gateways
        assert gateways.successor is not None
        gateways.successor.prepared = True
        before = gateways.serving
        if not before.alive:
            self._take_over()
            return
        try:
            if before.control is None or not before.ready:
                raise ConnectionError
            send_control(before.control, Retire())
        except OSError:
            before.signal(signal.SIGKILL)  # its pidfd tells the rest
            return
        turns = self._children.turns_of(before)
        self._end_if_late(
            before,
            _RETIRE,
            lambda: before is gateways.serving and self._children.turns_of(before) == turns,
        )
        self._end_if_late(before, _RETIRE_AT_MOST, lambda: before is gateways.serving)

    def on_retired(self) -> None:
        """The serving gateway has retired: it accepts nothing more."""
        # It may have been asked for a successor that has died since, and the next one may only be starting.
        if self._gateways.prepared:
            self._take_over()

    def _take_over(self) -> None:
        """Let the prepared successor serve; the former gateway finishes what it has begun."""
        before = self._gateways.take_over(time.monotonic())
        self.loaded = self.wanted
        self._renewal = self._next_renewal
        self._failed_to_renew = False
        self._failed_to_load &= self._renews  # renewed files do not make good a configuration that failed
        self._host.go_over()
        self._overtime.allow(self.loaded.config.former_gateway_timeout)
        _log.info("configuration reloaded", former=before.process.pid if before.process else None)

    def on_servings_death(self) -> bool:
        """The serving gateway died; tell whether a successor takes its place, now or once it is prepared."""
        gateways = self._gateways
        if gateways.successor is None:
            self.go_on()  # now: a gateway that dies each time it starts would put the reload off for ever
        if gateways.successor is None:
            return False
        if gateways.prepared:
            self._take_over()
            return True
        return not self._host.is_leaving  # a stop has told the successor to leave as well

    def on_successors_death(self, status: str) -> None:
        """The successor died: give it up, and see that a gateway serves with the configuration in force."""
        gateways = self._gateways
        had_asked = gateways.prepared
        gateways.successor = None
        self._fail([f"the gateway that was to use it ended with {status}"])
        if not gateways.serving.alive:
            self._children.start_again(gateways.serving)
        elif had_asked:
            # The serving gateway accepts nothing more; when it has died, we start one that does.
            gateways.serving.signal(signal.SIGKILL)
