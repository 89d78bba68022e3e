"""How one gateway follows another with another configuration, while the sessions go on.

In order:

1. the configuration is loaded again, and looked at;
2. another gateway starts with it, and says when it has all it needs. Until then everything that is wrong
   means that all goes on as before;
3. the one that serves stops accepting, gives handshakes under way a moment, and says so;
4. the other one is told by the forwarders which sessions there are, and serves;
5. the former one ends what it has begun, and leaves.

Rules of this file: processes are started and watched by the supervisor; here is decided which.
"""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from bascule.errors import ConfigError
from bascule.handover.control import NotReloaded, Retire, send_control
from bascule.policy.certificate import check_certificates
from bascule.policy.loading import check_files
from bascule.policy.reloading import check_reload
from bascule.supervisor.renewal import Renewal
from bascule.supervisor.sockets import check_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from bascule.policy.loading import Loaded
    from bascule.supervisor.child import Child
    from bascule.supervisor.gateways import Gateways

_log = structlog.get_logger()

_PREPARE: Final = 60.0
"""Seconds a gateway that is to take over may take to have all it needs."""

_RETIRE: Final = 10.0
"""Seconds a gateway may take to let another one serve; then it is killed, as one that hangs."""


class Host(Protocol):
    """What is needed of the supervisor."""

    def start(self, child: Child) -> None:
        """Start a process.

        Raises:
            OSError: There is none.
        """

    def start_again(self, child: Child) -> None:
        """Start a process that died; when the system is short of something, later."""

    def do_later(self, seconds: float, action: Callable[[], None]) -> None:
        """Call something in so many seconds, unless all is over then."""

    def go_over(self) -> None:
        """Let the gateway that is to serve do so, and all else go by the configuration in force."""

    @property
    def is_leaving(self) -> bool:
        """Whether we were told to stop."""


class Succession:
    """What is in force, and what is to be.

    Args:
        loaded: What is in force at the start.
        gateways: All gateways; here it is decided which serves.
        host: The supervisor.

    Attributes:
        loaded: What is in force.
        wanted: What is to be in force when the successor takes over; the same where there is none.
    """

    def __init__(self, loaded: Loaded, gateways: Gateways, host: Host) -> None:
        self.loaded = self.wanted = loaded
        self._gateways = gateways
        self._host = host
        self._renewal = self._next_renewal = Renewal.of_named(loaded.config)
        self._edits = Renewal(loaded.files)
        self._next_load: Callable[[], Loaded] | None = None
        self._renews = False
        self._failed_to_load = self._failed_to_renew = False

    @property
    def reloaded(self) -> bool:
        """Whether what was to be in force last is: a configuration, and the files that it names."""
        return not (self._failed_to_load or self._failed_to_renew)

    def begin(self, load: Callable[[], Loaded]) -> None:
        """Load a configuration, and start a gateway that is to take over with it.

        While another one is about to take over, or the first to serve, this waits for that: what that one
        read may be older.
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
            # Before the gateway reads them: what is renewed from now on is renewed again.
            self._next_renewal = Renewal.of_named(self.wanted.config)
            check_files(self.wanted.config)
            check_certificates(self.wanted.config)
            check_reload(self.loaded.config, self.wanted.config)
            check_options(self.wanted.config.sockets)
            successor = gateways.prepare()
            if successor is None:
                left = len(gateways.former)
                raise ConfigError([f"{left} former gateways have work left; try again when one has finished"])
            self._host.start(successor)
            self._end_if_late(
                successor, _PREPARE, lambda: successor is gateways.successor and not gateways.prepared
            )
        except ConfigError as error:
            self._fail(error.problems)
        except OSError as error:
            gateways.give_up_successor()
            self._fail([f"cannot start a process: {error}"])
        except Exception as fault:
            # Whatever a file may hold: what cannot be read must not end the sessions of those who live.
            _log.error("internal error", exc_info=fault)
            gateways.give_up_successor()
            self._fail(["internal error: see the line before"])

    def look_for_renewal(self, load: Callable[[], Loaded] | None) -> None:
        """Go over to renewed files.

        Those of the configuration itself are read again only where it says so: else somebody edits them,
        and will say when it is done. Certificates, keys and tokens are taken over without it.

        Args:
            load: Loads the configuration again.
        """
        if self._next_load is not None:
            return  # they will be read all the same; and are looked at again where it cannot be used
        if load is not None and self.loaded.config.reload_on_change and self._edits.look():
            _log.info("a configuration file has changed")
            self.begin(load)
        elif self._renewal.look():
            _log.info("a file was renewed")
            self.begin(self._as_it_is)

    def _as_it_is(self) -> Loaded:
        """Load nothing: what is in force is to stay, with files that were renewed."""
        return self.loaded

    def go_on(self) -> None:
        """Do what was asked for meanwhile, once nobody is about to take over or to serve."""
        load, self._next_load = self._next_load, None
        if load is not None:
            self.begin(load)

    def _fail(self, problems: list[str]) -> None:
        """Say that all goes on with the configuration there was."""
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
        """Kill a gateway that does not get on; its pidfd tells the rest."""
        assert child.process is not None
        pid = child.process.pid
        self._host.do_later(seconds, lambda: child.kill(pid) if is_late() else None)

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
        self._end_if_late(before, _RETIRE, lambda: before is gateways.serving)

    def on_retired(self) -> None:
        """The gateway that served accepts nothing more."""
        # Who was asked for a successor that died since may say so while another one only begins.
        if self._gateways.prepared:
            self._take_over()

    def _take_over(self) -> None:
        """Let the prepared gateway serve; the one before ends what it has begun."""
        before = self._gateways.take_over()
        self.loaded = self.wanted
        self._renewal = self._next_renewal
        self._failed_to_renew = False
        self._failed_to_load &= self._renews  # what is in force already is no answer to what was asked for
        self._host.go_over()
        _log.info("configuration reloaded", former=before.process.pid if before.process else None)

    def on_servings_death(self) -> bool:
        """The gateway that served died; tell whether a successor takes its place, now or when it can."""
        gateways = self._gateways
        if gateways.successor is None:
            self.go_on()  # with what it had it may never serve, and wait for ever
        if gateways.successor is None:
            return False
        if gateways.prepared:
            self._take_over()
            return True
        return not self._host.is_leaving  # it was told to leave, too

    def on_successors_death(self, status: str) -> None:
        """The gateway that was to take over died."""
        gateways = self._gateways
        had_asked = gateways.prepared
        gateways.give_up_successor()
        self._fail([f"the gateway that was to use it ended with {status}"])
        if not gateways.serving.alive:
            self._host.start_again(gateways.serving)
        elif had_asked:
            # It accepts nothing more by now, and the one that will is started when it has gone.
            gateways.serving.signal(signal.SIGKILL)
