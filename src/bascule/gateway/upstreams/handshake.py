"""The upstream side of an opening handshake: connect, ask, check the answer.

Five outcomes: a true 101 (`Switched`), another HTTP answer (`Answered`), an answer that is not
valid (`BadAnswer`), an upstream that cannot be reached, or has gone before it answered
(`bascule.gateway.upstreams.dialler.Unreachable`), or a host of ours that has nothing left to reach one with
(`bascule.gateway.upstreams.dialler.NoRoom`). Bytes from the browser are not sent before the 101 is checked.
"""

from __future__ import annotations

import errno
import os
import time
from binascii import b2a_base64
from typing import TYPE_CHECKING, Final, NamedTuple

from bascule.errors import BasculeError
from bascule.gateway.connections.connecting import lacks_room
from bascule.gateway.connections.legs import Deadline, Leg
from bascule.gateway.connections.readiness import WatchedLeg
from bascule.gateway.upstreams.candidates import Candidates
from bascule.gateway.upstreams.dialler import NoRoom, Unreachable
from bascule.protocol.body import Framing, framing_of
from bascule.protocol.handshake import Agreement, Offer, upgrade_request
from bascule.protocol.http1 import END_OF_HEAD, BadHead, ResponseHead, has_bare_line_feed
from bascule.protocol.tlsfailure import alert, errno_name, tls_failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from bascule.gateway.upstreams.dialler import Dialler
    from bascule.policy.routes import UpstreamAddress

__all__ = ["Answered", "BadAnswer", "Dial", "Switched"]

_HTTP: Final = b"HTTP/"
"""How an answer begins."""

_ENDED: Final = errno.ECONNRESET
"""How an upstream is treated that has ended before it answered: like one that has reset the connection."""


class Switched(NamedTuple):
    """The upstream said a true 101.

    Attributes:
        leg: Its connection.
        agreement: What was agreed, with all fields of the browser's 101 but its own.
        early: Bytes after the head: the first frames.
    """

    leg: Leg
    agreement: Agreement
    early: bytes


class Answered(NamedTuple):
    """The upstream gave another answer.

    Attributes:
        leg: Its connection, from which the rest of the body is still to be read.
        head: The answer's.
        early: The body's beginning.
        framing: Where the body ends.
    """

    leg: Leg
    head: ResponseHead
    early: bytes
    framing: Framing


class BadAnswer(BasculeError):
    """The upstream's answer is neither a valid 101 nor a usable HTTP answer."""


class Dial:
    """One opening handshake with an upstream.

    `begin` goes as far as that takes no wait, which on the same node is up to the answer. `hear` goes on from
    there: once the connection is established, and once there is an answer. In all other cases `finish` does,
    in a task, from whatever has been reached.

    Args:
        dialler: Makes the connection.
        address: Where the route leads.
        target: Request target, byte for byte.
        fields: The fields that are forwarded.
        offer: What the browser offers.

    Attributes:
        fields: The same.
    """

    __slots__ = (
        "_address", "_began", "_candidates", "_deadline", "_dialler", "_failed", "_heard", "_is_connecting",
        "_key", "_leg", "_offer", "_target", "_unsent", "fields",
    )  # fmt: skip

    def __init__(
        self, dialler: Dialler, address: UpstreamAddress, target: bytes, fields: list[tuple[bytes, bytes]],
        offer: Offer,
    ) -> None:  # fmt: skip
        self._dialler = dialler
        self._address = address
        self._target = target
        self.fields = fields
        self._offer = offer
        self._candidates: Candidates | None = None
        self._leg: Leg | None = None
        self._is_connecting = False
        self._failed = 0  # the number of an error: with itself we would keep the frames that keep us
        self._heard = b""

    def begin(self, arrived: Callable[[], None]) -> bool:
        """Connect, send the upgrade request, and let ``arrived`` be called when there is something to `hear`.

        Returns:
            Whether it will be called. Otherwise `finish` must be awaited.
        """
        leg = self._dialler.begin_connect(self._address)
        if leg is None:
            return False
        if isinstance(leg, Candidates):
            return self._await_connection(leg, arrived)
        self._ask(leg)
        if self._unsent or self._failed:
            return False
        try:
            leg.expect(arrived)
        except OSError as error:
            self._failed = error.errno or errno.EIO
            return False
        return True

    def _await_connection(self, candidates: Candidates, arrived: Callable[[], None]) -> bool:
        self._candidates = candidates
        if candidates.begun is None:
            return False
        leg = self._dialler.leg(candidates.begun)
        candidates.begun = None
        try:
            leg.expect_connected(arrived)
        except OSError as error:
            leg.close()
            candidates.failed(error, 0.0)
            return False
        self._leg = leg
        self._deadline = self._dialler.connect_deadline(leg, candidates.left)
        self._began = time.monotonic()
        self._is_connecting = True
        return True

    def _ask_if_connected(self, leg: WatchedLeg) -> bool:
        """Send the upgrade request if the connection is established; tell whether it was sent whole.

        If it is not, the next address is up to `finish`.
        """
        candidates = self._candidates
        assert candidates is not None
        self._is_connecting = False
        self._deadline.end()
        code = errno.ETIMEDOUT if self._deadline.expired else leg.connect_error()
        if not code:
            self._ask(leg)
            if not (self._unsent or self._failed):
                return True
        leg.forget()
        if code:
            self._leg = None
            leg.close()
            took = time.monotonic() - self._began
            candidates.failed(OSError(code, "connect"), min(took, candidates.share))
        return False

    def hear(self) -> Switched | None:
        """Read the answer after ``arrived`` was called, which is not called again.

        Returns:
            A true 101; ``None`` for anything else, or if it has not all come: `finish` must be awaited.

        Raises:
            BlockingIOError: There is no answer yet; ``arrived`` will be called again.
        """
        leg, dialler = self._leg, self._dialler
        assert isinstance(leg, WatchedLeg)
        if self._is_connecting:
            if self._ask_if_connected(leg):
                raise BlockingIOError
            return None
        try:
            data = leg.read_now()
        except BlockingIOError:
            raise
        except OSError as error:
            leg.forget()
            self._failed = error.errno or errno.EIO
            return None
        leg.forget()
        if not data:
            self._failed = _ENDED
            return None
        self._heard = data
        size = data.find(END_OF_HEAD) + len(END_OF_HEAD)
        if size < len(END_OF_HEAD) or size > dialler.longest_head or self._deadline.expired:
            return None
        try:
            agreement = dialler.agreements.read(data[:size], self._offer, self._key)
        except BadHead:
            return None
        if not isinstance(agreement, Agreement):
            return None
        self._deadline.end()
        return Switched(leg, agreement, data[size:])

    def give_up(self) -> None:
        """Close the connection instead of waiting for ``arrived``."""
        leg = self._leg
        assert isinstance(leg, WatchedLeg)
        leg.forget()
        self._deadline.end()
        leg.close()

    async def finish(self) -> Switched | Answered:
        """Go on from what was reached, until the answer is read and checked.

        Raises:
            Unreachable: The upstream did not answer.
            NoRoom: This host lacks what the connection needs.
            BadAnswer: The answer is neither a valid 101 nor a usable HTTP answer.

        Cancellation: safe; the connection is closed.
        """
        leg = self._leg
        if leg is None:
            leg = await self._dialler.connect(self._address, self._candidates)
            self._ask(leg)
        deadline = self._deadline
        try:
            try:
                if self._failed:
                    raise OSError(self._failed, "handshake")
                if self._unsent:
                    await leg.write(self._unsent)
                head, early = await self._read_head(leg)
            finally:
                deadline.end()
            if deadline.expired:  # the head had arrived before the deadline shut the connection down
                raise ConnectionAbortedError
        except (OSError, BadAnswer) as error:
            leg.close()
            if deadline.expired:
                raise Unreachable("handshake timed out") from error
            if isinstance(error, BadAnswer):
                raise
            why = NoRoom if lacks_room(error) else Unreachable
            raise why(_failure(error)) from error
        except BaseException:
            leg.close()
            raise
        if isinstance(head, Agreement):
            return Switched(leg, head, early)
        try:
            return Answered(leg, head, early, framing_of(head))
        except BadHead as error:
            leg.close()
            raise BadAnswer(error.detail) from error

    def _ask(self, leg: Leg) -> None:
        """Send the upgrade request, as far as the connection takes it at once."""
        self._leg = leg
        self._key = b2a_base64(os.urandom(16), newline=False)
        self._unsent = b""
        try:
            self._unsent = leg.write_now(upgrade_request(self._target, self._key, self.fields))
        except OSError as error:
            self._failed = error.errno or errno.EIO
        self._deadline = Deadline(leg, self._dialler.deadlines)

    async def _read_head(self, leg: Leg) -> tuple[Agreement | ResponseHead, bytes]:
        """Read one final response head, skipping interim ones (RFC 9110 §15.2)."""
        data = self._heard or await _read_more(leg)
        limit = self._dialler.longest_head
        while True:
            end = data.find(END_OF_HEAD)
            size = len(data) if end < 0 else end + len(END_OF_HEAD)
            if size > limit:
                raise BadAnswer("response head over limits.requestHeadBytes")
            if end < 0:
                if not data.startswith(_HTTP[: len(data)]):  # another protocol, or TLS: it never ends a head
                    raise BadAnswer("not valid HTTP")
                if has_bare_line_feed(data):
                    raise BadAnswer("a bare line feed in the response head")
                data += await _read_more(leg)
                continue
            try:
                head = self._dialler.agreements.read(data[:size], self._offer, self._key)
            except BadHead as error:
                raise BadAnswer(error.detail) from error
            data = data[size:]
            if isinstance(head, Agreement) or head.status >= 200:
                return head, data
            limit -= size  # one limit for all heads together, so that interim ones cannot follow without end


async def _read_more(leg: Leg) -> bytes:
    """Read what comes next; if that is the end, the upstream has died, which is treated like a reset."""
    if chunk := await leg.read():
        return chunk
    raise OSError(_ENDED, "ended before it answered")


def _failure(error: OSError) -> str:
    """Return how a handshake failed after the connect, in our own words."""
    return f"handshake failed: {errno_name(error)}" if alert(error) is None else tls_failure(error)
