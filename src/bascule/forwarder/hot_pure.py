"""The hot path in pure Python: receive, walk the frame headers (`walk_pure`), send.

The compiled twin is `_hot.pyx`; both have this interface and must take the same
actions for any bytes, valid or not (tests/forwarder/test_twins.py). In both the same thing
has the same name and the same place.

Why frames are walked at all: a control frame of ours may only go out at a frame
boundary, a frame over the size limit must be refused at its header, and the forwarder
answers pings itself. Only *headers* are parsed, and control frames read; the payload of data
frames is never unmasked or decoded, and copied only when the sink does not take it.

Rules of this file:

* One ``Flow`` per direction; a flow's sink is written only by this engine or, at a
  boundary, through `Engine.inject` (invariant I1).
* A source is not read while bytes for its sink are stashed (I5). The stash is at
  most one receive window, or what was read before the hand-over, and our own control frames; and all stashes
  together are bounded further (`signs.SCARCE_FROM`).
* One receive per readiness, so that one session cannot starve the others.
* The middle of a large frame goes from socket to socket through a pipe (splice(2)); the one
  pipe that all sessions share is empty between operations.
* Sections cited are RFC 6455's.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
from os import readv, write
from time import monotonic
from typing import Any, Final

from bascule.forwarder import signs
from bascule.forwarder.flow_pure import Flow
from bascule.forwarder.walk_pure import PREFIX, HeaderWalk
from bascule.handover.counters import ForwarderWord

__all__ = ["EPOLLIN", "EPOLLOUT", "Engine", "Flow", "count_allocations"]

EPOLLIN: Final = select.EPOLLIN
EPOLLOUT: Final = select.EPOLLOUT
_EPOLLRDHUP: Final = select.EPOLLRDHUP
_ENDED: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
"""The peer has ended its direction, or both have ended, or the connection has failed. Epoll reports the last
two whatever the interest."""
_UNWRITABLE: Final = select.EPOLLHUP | select.EPOLLERR
_PARKED: Final = select.EPOLLONESHOT
"""Interest in no event. Epoll reports a failed connection even so; with this flag it does so only once."""

_MAX_EVENTS: Final = 256
_STASHED: Final = int(ForwarderWord.STASHED_BYTES)

_RELAY: Final = signs.RELAY
_BOUNDARY: Final = signs.BOUNDARY
"""A name in this module costs one look-up instead of two, which matters where it happens per message."""

_SPLICE_FROM: Final = signs.SPLICE_FROM
_SCARCE_FROM: Final = signs.SCARCE_FROM

_SHORT: Final = 1024
"""Bytes from which on a view of what was received is not kept (`Engine._short_of`)."""

_PIPE_BYTES: Final = 1 << 20
_SPLICE_FLAGS: Final = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK

_NO_SPLICING: Final = (errno.EINVAL, errno.ENOSYS)
"""This kernel, or this kind of descriptor, cannot splice."""

_NOT_SPLICED: Final = (errno.EAGAIN, errno.ENOMEM)
"""There is nothing, no room, or no memory for it just now: copying may do."""


class Engine(HeaderWalk):
    """Epoll, the shared receive buffer and everything that happens per message.

    Args:
        window: Most bytes received at once, and so the bound of a stash.
        words: The forwarder's counter block; frames are counted there.
        early: Most bytes that `feed` takes at once, if more than the window.
    """

    name = "pure"

    def __init__(self, window: int, words: memoryview, early: int = 0) -> None:
        super().__init__(max(window, early), words)
        self.window = window
        self._epoll = select.epoll()
        self._take_at_once(window)
        self._short: list[memoryview | None] = [None] * _SHORT
        self._table: dict[int, Any] = {}
        self._pipe: tuple[int, ...] = ()
        self._open_pipe()
        self.now = monotonic()

    def close(self) -> None:
        """Release the descriptors."""
        self._epoll.close()
        self._close_pipe()

    def _open_pipe(self) -> None:
        """Open the one pipe; if none can be had, as when descriptors are short, all payload is copied."""
        try:
            self._pipe = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            fcntl.fcntl(self._pipe[1], fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        except OSError:
            self._close_pipe()

    def _close_pipe(self) -> None:
        for end in self._pipe:
            os.close(end)
        self._pipe = ()

    def _take_at_once(self, most: int) -> None:
        """Receive at most so many bytes at once from now on."""
        self._most = most
        self._into = [self._view[PREFIX : PREFIX + most]]

    # -- registration ---------------------------------------------------------------

    def watch(self, descriptor: int, target: object) -> None:
        """Report a readable descriptor that is not a flow's, as ``(target, EPOLLIN)``."""
        self._epoll.register(descriptor, EPOLLIN)
        self._table[descriptor] = target

    def unwatch(self, descriptor: int) -> None:
        """Stop reporting a descriptor. Call it before closing the descriptor, or epoll keeps a dead entry."""
        self._table.pop(descriptor, None)
        self._epoll.unregister(descriptor)

    def attach(self, flow: Flow) -> None:
        """Start reading a flow's source."""
        self._table[flow.source] = flow
        self._apply(flow)

    def detach(self, flow: Flow) -> None:
        """Forget a flow's source. Call it before closing the source."""
        if flow.interest:
            self._epoll.unregister(flow.source)
            flow.interest = 0
        self._table.pop(flow.source, None)

    def pause(self, flow: Flow) -> None:
        """Stop reading the source for good (it has ended)."""
        flow.reading = False
        self._apply(flow)

    def _apply(self, flow: Flow) -> None:
        """Bring epoll's interest in a flow's source in line with both directions.

        A source from which we want nothing stays in epoll: adding it again could fail, for want of memory
        or by the user's limit, and end this process with all its sessions.
        """
        opposite = flow.opposite
        interest = 0
        if flow.reading:
            if flow.stash is None:
                interest = EPOLLIN
            elif not flow.left:
                interest = _EPOLLRDHUP
        if opposite is not None and opposite.stash is not None:
            interest |= EPOLLOUT
        elif not interest & EPOLLIN:
            interest |= _PARKED
        if interest == flow.interest or flow.source < 0:
            return
        if flow.interest:
            self._epoll.modify(flow.source, interest)
        else:
            self._epoll.register(flow.source, interest)
        flow.interest = interest

    # -- the loop -------------------------------------------------------------------

    def turn(self, deadline: float) -> list[tuple[Any, int]]:
        """Relay until something needs the owner or the deadline has passed.

        Args:
            deadline: Monotonic time, in seconds.

        Returns:
            Flows with their signs, and watched targets; empty when only the deadline
            passed or, in the compiled build, a signal came in (in the pure build Python
            itself goes on waiting, PEP 475). `now` is the time of the last wake-up.
        """
        table = self._table
        poll = self._epoll.poll
        report: list[tuple[Any, int]] = []
        advance = self._advance
        now = monotonic()
        while True:
            # Counted from the last wake-up: the work since then is short compared with any deadline.
            events = poll(deadline - now if deadline > now else 0, _MAX_EVENTS)
            self.now = now = monotonic()
            for descriptor, event in events:
                target = table.get(descriptor)
                if type(target) is Flow:
                    if event == 1:  # EPOLLIN and nothing else
                        if found := advance(target):
                            report.append((target, found))
                    else:
                        self._unusual(target, event, report)
                elif target is not None:
                    report.append((target, event))
            if report or not events or now >= deadline:  # after `counters.TURN_EVERY` at the latest
                self._count()
                return report

    def _unusual(self, flow: Flow, event: int, report: list[tuple[Any, int]]) -> None:
        """Handle anything but *readable and nothing else* on a flow's source."""
        # A Unix socket whose peer has shut both directions, and reads nothing, is never writable: only a
        # write finds out why, and until then epoll goes on reporting it.
        if event & (EPOLLOUT | _UNWRITABLE) and flow.opposite is not None:
            found = self.flush(flow.opposite)
            if found:
                report.append((flow.opposite, found))
        if event & ~EPOLLOUT and flow.reading:
            if flow.stash is None:
                found = self._advance(flow)
                if found:
                    report.append((flow, found))
            elif event & _ENDED and not flow.left:
                flow.left = True
                self._apply(flow)
                report.append((flow, signs.LEFT))

    def _advance(self, flow: Flow) -> int:
        """Receive once, walk, send; return signs, 0 in the ordinary case."""
        if flow.between and not flow.large and not flow.mode and not flow.stop:
            return self._pass(flow)
        if flow.remaining >= _SPLICE_FROM and flow.mode == _RELAY and self._pipe:
            return self._splice(flow)
        return self._receive(flow)

    def _pass(self, flow: Flow) -> int:
        """Receive, walk and send as `_advance` does, between messages: usually whole ones have come."""
        try:
            size = readv(flow.source, self._into)
        except OSError as error:
            return self._unread(flow, error)
        if not size:
            return signs.EOF
        end = PREFIX + size
        position = self._skip(flow, PREFIX, end)
        if position == end:
            found = self._send(flow, PREFIX, end)
        else:
            start, end, found = self.walk(flow, PREFIX, end, position)
            if start != end:
                found |= self._send(flow, start, end)
        if flow.wanted and flow.remaining == 0 and flow.stash is None:
            found |= _BOUNDARY
        return found

    def _receive(self, flow: Flow) -> int:
        """Receive what may be walked in any state, and process it."""
        into = self._into
        if flow.remaining and flow.wanted and flow.mode == _RELAY:
            # Not beyond the boundary: a source that never pauses would delay our control frame for ever.
            if flow.remaining < self._most:
                into = [self._view[PREFIX : PREFIX + flow.remaining]]
        elif flow.large and self._pipe and flow.mode == _RELAY:
            most = flow.remaining + signs.GLIMPSE_BYTES
            if most < self._most:
                into = [self._view[PREFIX : PREFIX + most]]
        try:
            size = readv(flow.source, into)
        except OSError as error:
            return self._unread(flow, error)
        return self._process(flow, size) if size else signs.EOF

    def _unread(self, flow: Flow, error: OSError) -> int:
        """Return the signs of a source that could not be read."""
        if isinstance(error, BlockingIOError):
            return 0
        flow.error = error.errno or errno.EIO
        return signs.ERROR

    def _splice(self, flow: Flow) -> int:
        """Move payload of the current frame from the source to the sink."""
        size = self._fill(flow)
        if size <= 0:
            return signs.ERROR if size < 0 else self._receive(flow)
        taking = self._pipe[0]
        flow.remaining -= size
        flow.active_at = self.now
        if not flow.remaining:
            flow.between = not flow.in_message
            if flow.stop:
                flow.mode = signs.DISCARD
        # While much is still to come the kernel need not send a short segment for the tail of a write.
        flags = _SPLICE_FLAGS | os.SPLICE_F_MORE if flow.remaining >= _SPLICE_FROM else _SPLICE_FLAGS
        left = size
        found = 0
        refused = False
        try:
            while left:
                left -= os.splice(taking, flow.sink, left, flags=flags)
        except OSError as error:
            refused = error.errno in _NO_SPLICING
            if not refused and error.errno not in _NOT_SPLICED:
                flow.error = error.errno or errno.EIO
                found = signs.SINK_ERROR
        if left:
            # The pipe must be empty afterwards: its data is stashed, or dropped if the sink has failed.
            rest = self._take_back(left)
            if not found:
                self._stash(flow, rest)
        if refused:
            self._close_pipe()
        if flow.wanted and flow.remaining == 0 and flow.stash is None:
            found |= _BOUNDARY
        return found

    def _fill(self, flow: Flow) -> int:
        """Move payload of the current frame into the pipe, at most what is received at once.

        Returns:
            Bytes moved; 0 if nothing could be moved; -1 if reading the source failed. 0 does not mean
            that the source is empty: splice stops in front of a TCP urgent byte and reports that there is
            nothing, or the end, while epoll keeps reporting that there is something to read.
        """
        try:
            return os.splice(flow.source, self._pipe[1], min(flow.remaining, self._most), flags=_SPLICE_FLAGS)
        except OSError as error:
            if error.errno in _NOT_SPLICED:
                return 0
            if error.errno in _NO_SPLICING:
                self._close_pipe()
                return 0
            # A connection reports its error only once: reading on would find a plain end of stream.
            flow.error = error.errno or errno.EIO
            return -1

    def _take_back(self, size: int) -> bytes:
        """Read what is left in the pipe."""
        data = os.read(self._pipe[0], size)
        while len(data) < size:
            data += os.read(self._pipe[0], size - len(data))
        return data

    def begin(self, flow: Flow, answer: bytes) -> int:
        """Write the answer to the browser's opening handshake, ahead of the first frame.

        Returns:
            `SINK_ERROR` or 0; what the sink does not take is stashed.
        """
        try:
            sent = write(flow.sink, answer)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            flow.error = error.errno or errno.EIO
            return signs.SINK_ERROR
        if sent != len(answer):
            self._stash(flow, answer[sent:])
        return 0

    def feed(self, flow: Flow, data: bytes) -> int:
        """Account for bytes that the gateway had already read, as if just received.

        Args:
            flow: A flow with an empty stash, or with an answer in it.
            data: At most ``early`` bytes.
        """
        self._buffer[PREFIX : PREFIX + len(data)] = data
        found = self._process(flow, len(data))
        self._count()
        return found

    def _process(self, flow: Flow, size: int) -> int:
        """Walk what was received, whatever the flow's state, and send it."""
        start = PREFIX
        end = PREFIX + size
        if flow.held is not None:
            start -= len(flow.held)
            self._buffer[start:PREFIX] = flow.held
            flow.held = None
        if flow.mode == signs.DEAD:
            return 0
        start, end, found = self.walk(flow, start, end)
        if start != end:
            found |= self._send(flow, start, end)
        if flow.wanted and (flow.remaining == 0 or flow.mode != _RELAY) and flow.stash is None:
            # The rest of a frame that is not forwarded must not delay our control frames.
            found |= _BOUNDARY
        return found

    def _send(self, flow: Flow, start: int, end: int) -> int:
        """Write to the sink at once, unless something waits for it; stash what it does not take."""
        size = end - start
        if start == PREFIX and size < _SHORT:
            data = self._short[size] or self._short_of(size)
        else:
            data = self._view[start:end]
        try:
            sent = write(flow.sink, data) if flow.stash is None else 0
        except BlockingIOError:
            sent = 0
        except OSError as error:
            flow.error = error.errno or errno.EIO
            return signs.SINK_ERROR
        if sent != size:
            self._stash(flow, bytes(data[sent:]))
        return 0

    def _short_of(self, size: int) -> memoryview:
        """Make and keep the view of so many bytes of the window: slicing takes longer than looking up."""
        view = self._short[size] = self._view[PREFIX : PREFIX + size]
        return view

    def _stash(self, flow: Flow, data: bytes) -> None:
        self._words[_STASHED] += len(data)
        if self._words[_STASHED] > _SCARCE_FROM:
            self._take_at_once(min(self.window, signs.SCARCE_BYTES))
        self._keep(flow, memoryview(data if flow.stash is None else bytes(flow.stash) + data))

    def _keep(self, flow: Flow, stash: memoryview | None) -> None:
        """Let other bytes wait for the sink, or none; what we want from both sources changes with that."""
        flow.stash = stash
        self._apply(flow)
        if flow.opposite is not None:
            self._apply(flow.opposite)

    def _unstash(self, size: int) -> None:
        """Account for bytes that are stashed no more."""
        self._words[_STASHED] -= size
        if self._most < self.window and self._words[_STASHED] <= _SCARCE_FROM:
            self._take_at_once(self.window)

    def flush(self, flow: Flow) -> int:
        """Write the stash; when it is gone, read the source again.

        Returns:
            `BOUNDARY` when the stash is gone and a control frame was waiting for that, `SINK_ERROR`, or 0.
        """
        stash = flow.stash
        if stash is None:
            return 0
        try:
            sent = write(flow.sink, stash)
        except BlockingIOError:
            return 0
        except OSError as error:
            flow.error = error.errno or errno.EIO
            self.drop_stash(flow)
            return signs.SINK_ERROR
        self._unstash(sent)
        if sent < len(stash):
            flow.stash = stash[sent:]
            return 0
        self._keep(flow, None)
        return signs.BOUNDARY if flow.wanted else 0

    def drop_stash(self, flow: Flow) -> None:
        """Throw the stash away: its sink is gone."""
        if flow.stash is not None:
            self._unstash(len(flow.stash))
            self._keep(flow, None)

    def inject(self, flow: Flow, frame: bytes) -> int:
        """Write a control frame of ours. Only at a boundary (I1): check `at_boundary` first.

        Returns:
            `SINK_ERROR` or 0; what the sink does not take is stashed.
        """
        size = len(frame)
        self._buffer[PREFIX : PREFIX + size] = frame
        return self._send(flow, PREFIX, PREFIX + size)


def count_allocations(words: memoryview, word: int) -> bool:
    """Add every byte that this process requests from its allocators to a counter word.

    Returns:
        Whether they are counted: in this build never, since only the extension can hook
        CPython's allocators. The word stays as it is.
    """
    return False
