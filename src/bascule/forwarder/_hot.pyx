# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, auto_pickle=False
"""The hot path compiled: what `hot_pure` does, action for action, on C state and system calls.

Read `hot_pure`, `flow_pure` and `walk_pure` first; their rules hold here, and
tests/forwarder/test_twins.py feeds both the same bytes. ``_flow.pxi`` and ``_walk.pxi`` are the twins of the
latter two, and in each pair the same thing has the same name and the same place. What is different:

* a flow's state is C fields of one object; a turn of the loop that only moves frames
  touches no Python object and allocates nothing;
* ``epoll_wait``, ``recv``, ``send`` and ``splice`` are called directly;
* what makes Python fast is missing: `_pass` and `_skip`, which shorten the way of whole small messages, with
  `_count`; and `_short_of`, `_take_at_once` and `_unread`;
* ``_allocations.pxi`` wraps CPython's allocators and adds up the bytes requested from them;
  ``ws_pool_alloc_bytes_per_second`` shows the rate.

The GIL is kept while waiting: a forwarder has one thread, and letting go of it costs
more than a small frame.
"""

from bascule.protocol.frames import OUR_PING_PAYLOAD, mask, parse_close_payload

include "_system.pxi"
include "_signs.pxi"
include "_flow.pxi"
include "_walk.pxi"
include "_allocations.pxi"

cdef enum:
    MAX_EVENTS = 256
    PIPE_BYTES = 1048576


cdef class Engine(HeaderWalk):
    """Epoll, the shared receive buffer and everything that happens per message."""

    name = "compiled"

    cdef int _epoll
    cdef int _pipe[2]
    cdef bint _is_open  # whether these are ours; what fails before must not close descriptor 0
    cdef Py_ssize_t _most  # to be received at once
    cdef list _table
    cdef epoll_event _events[MAX_EVENTS]

    def __cinit__(self, Py_ssize_t window, words, Py_ssize_t early=0):
        self._epoll = epoll_create1(EPOLL_CLOEXEC)
        if self._epoll < 0:
            PyErr_SetFromErrno(OSError)
        self._open_pipe()
        self._is_open = True
        self._most = window
        self._table = []

    def __dealloc__(self):
        self._close()

    def close(self):
        """Release the descriptors."""
        self._close()

    cdef void _close(self) noexcept:
        if self._is_open:
            self._is_open = False
            close(self._epoll)
            self._close_pipe()

    cdef void _open_pipe(self) noexcept:
        """Open the one pipe; if none can be had, as when descriptors are short, all payload is copied."""
        if pipe2(self._pipe, O_CLOEXEC | O_NONBLOCK) < 0:
            self._pipe[0] = self._pipe[1] = -1
        elif fcntl(self._pipe[1], F_SETPIPE_SZ, PIPE_BYTES) < 0:
            self._close_pipe()

    cdef void _close_pipe(self) noexcept:
        if self._pipe[0] >= 0:
            close(self._pipe[0])
            close(self._pipe[1])
        self._pipe[0] = self._pipe[1] = -1

    # -- registration ---------------------------------------------------------------

    cdef int _set(self, int descriptor, object target) except -1:
        while len(self._table) <= descriptor:
            self._table.append(None)
        self._table[descriptor] = target
        return 0

    cdef int _control(self, int operation, int descriptor, uint32_t interest) except -1:
        cdef epoll_event event
        memset(&event, 0, sizeof(event))
        event.events = interest
        event.data.fd = descriptor
        if epoll_ctl(self._epoll, operation, descriptor, &event) < 0:
            PyErr_SetFromErrno(OSError)
        return 0

    def watch(self, int descriptor, target):
        """Report a readable descriptor that is not a flow's, as ``(target, EPOLLIN)``."""
        self._control(EPOLL_CTL_ADD, descriptor, EPOLLIN)
        self._set(descriptor, target)

    def unwatch(self, int descriptor):
        """Stop reporting a descriptor. Call it before closing the descriptor, or epoll keeps a dead entry."""
        self._set(descriptor, None)
        self._control(EPOLL_CTL_DEL, descriptor, 0)

    def attach(self, Flow flow not None):
        """Start reading a flow's source."""
        self._set(flow.source, flow)
        self._apply(flow)

    def detach(self, Flow flow not None):
        """Forget a flow's source. Call it before closing the source."""
        if flow.interest:
            self._control(EPOLL_CTL_DEL, flow.source, 0)
            flow.interest = 0
        self._set(flow.source, None)

    def pause(self, Flow flow not None):
        """Stop reading the source for good (it has ended)."""
        flow.reading = False
        self._apply(flow)

    cdef int _apply(self, Flow flow) except -1:
        """Bring epoll's interest in a flow's source in line with both directions."""
        cdef uint32_t interest = 0
        cdef Flow opposite = flow.opposite
        if flow.reading:
            if flow.waiting == NULL:
                interest = EPOLLIN
            elif not flow.left:
                interest = EPOLLRDHUP
        if opposite is not None and opposite.waiting != NULL:
            interest |= EPOLLOUT
        elif not interest & EPOLLIN:
            interest |= EPOLLONESHOT
        if interest == flow.interest or flow.source < 0:
            return 0
        self._control(EPOLL_CTL_MOD if flow.interest else EPOLL_CTL_ADD, flow.source, interest)
        flow.interest = interest
        return 0

    # -- the loop -------------------------------------------------------------------

    def turn(self, double deadline):
        """Relay until something needs the owner or the deadline has passed; see `hot_pure`."""
        cdef int count, index, timeout
        cdef uint32_t event
        cdef double left
        cdef int found
        cdef list report = None
        cdef list table = self._table
        cdef Flow flow
        cdef double now = _monotonic()
        while True:
            # Counted from the last wake-up: the work since then is short compared with any deadline.
            left = deadline - now
            if left <= 0:
                timeout = 0
            elif left > 3600:
                timeout = 3600000
            else:
                timeout = <int>(left * 1000) + 1
            count = epoll_wait(self._epoll, self._events, MAX_EVENTS, timeout)
            self.now = now = _monotonic()
            if count < 0:
                if errno != EINTR:
                    PyErr_SetFromErrno(OSError)
                PyErr_CheckSignals()
                return []
            for index in range(count):
                event = self._events[index].events
                item = table[self._events[index].data.fd]
                if index + 1 < count:
                    _fetch(<void *>table[self._events[index + 1].data.fd])
                if type(item) is Flow:
                    flow = <Flow>item
                    if event == EPOLLIN:
                        found = self._advance(flow)
                        if found:
                            if report is None:
                                report = []
                            report.append((flow, found))
                    else:
                        if report is None:
                            report = []
                        self._unusual(flow, event, report)
                elif item is not None:
                    if report is None:
                        report = []
                    report.append((item, event))
            if report is not None:
                if report:
                    return report
                report = None
            if count == 0 or self.now >= deadline:
                return []

    cdef int _unusual(self, Flow flow, uint32_t event, list report) except -1:
        """Handle anything but *readable and nothing else* on a flow's source."""
        cdef int found
        if event & (EPOLLOUT | EPOLLHUP | EPOLLERR) and flow.opposite is not None:
            found = self.flush(flow.opposite)
            if found:
                report.append((flow.opposite, found))
        if event & ~EPOLLOUT and flow.reading:
            if flow.waiting == NULL:
                found = self._advance(flow)
                if found:
                    report.append((flow, found))
            elif event & (EPOLLRDHUP | EPOLLHUP | EPOLLERR) and not flow.left:
                flow.left = True
                self._apply(flow)
                report.append((flow, LEFT))
        return 0

    cdef int _advance(self, Flow flow) except -1:
        """Receive once, walk, send; return signs, 0 in the ordinary case."""
        if flow.remaining >= SPLICE_FROM and flow.mode == RELAY and self._pipe[0] >= 0:
            return self._splice(flow)
        return self._receive(flow)

    cdef int _receive(self, Flow flow) except -1:
        """Receive what may be walked in any state, and process it."""
        cdef ssize_t size
        cdef size_t most = self._most
        if flow.remaining and flow.wanted and flow.mode == RELAY:
            # Not beyond the boundary: a source that never pauses would delay our control frame for ever.
            if flow.remaining < most:
                most = flow.remaining
        elif flow.large and flow.remaining + GLIMPSE < most and flow.mode == RELAY and self._pipe[0] >= 0:
            most = flow.remaining + GLIMPSE
        size = recv(flow.source, self._buffer + PREFIX, most, MSG_DONTWAIT)
        if size < 0:
            if errno == EAGAIN or errno == EINTR:
                return 0
            flow.error = errno
            return ERROR_
        if size == 0:
            return EOF_
        return self._process(flow, PREFIX + size)

    cdef int _splice(self, Flow flow) except -1:
        """Move payload of the current frame from the source to the sink.

        SIGPIPE is ignored by CPython; splice has no flag for it.
        """
        cdef ssize_t size = self._fill(flow)
        cdef ssize_t moved
        cdef size_t done = 0
        cdef int found = 0
        cdef bint refused = False
        if size <= 0:
            return ERROR_ if size < 0 else self._receive(flow)
        flow.remaining -= size
        flow.active_at = self.now
        if flow.stop and flow.remaining == 0:
            flow.mode = DISCARD
        while done < <size_t>size:
            moved = splice(
                self._pipe[0], NULL, flow.sink, NULL, size - done,
                SPLICE_F_MOVE | SPLICE_F_NONBLOCK | (SPLICE_F_MORE if flow.remaining >= SPLICE_FROM else 0)
            )
            if moved > 0:
                done += moved
            elif moved == 0 or errno == EAGAIN or errno == ENOMEM:
                break
            elif errno == EINVAL or errno == ENOSYS:
                refused = True
                break
            elif errno != EINTR:
                flow.error = errno
                found = SINK_ERROR
                break
        if done < <size_t>size:
            # The pipe must be empty afterwards: its data is stashed, or dropped if the sink has failed.
            self._take_back(size - done)
            if not found:
                self._stash(flow, self._buffer + PREFIX, size - done)
        if refused:
            self._close_pipe()
        if flow.wanted and flow.remaining == 0 and flow.waiting == NULL:
            found |= BOUNDARY
        return found

    cdef inline ssize_t _fill(self, Flow flow) noexcept:
        """Move payload of the current frame into the pipe, at most what is received at once.

        Returns:
            Bytes moved; 0 if nothing could be moved, see `hot_pure`; -1 if reading the source failed.
        """
        cdef size_t most = self._most
        cdef ssize_t size
        if flow.remaining < most:
            most = flow.remaining
        size = splice(flow.source, NULL, self._pipe[1], NULL, most, SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
        if size >= 0 or errno == EAGAIN or errno == EINTR or errno == ENOMEM:
            return max(size, 0)
        if errno == EINVAL or errno == ENOSYS:
            self._close_pipe()  # this kernel or this kind of descriptor cannot splice: copy from now on
            return 0
        flow.error = errno
        return -1

    cdef int _take_back(self, size_t size) except -1:
        """Read what is left in the pipe into the window; it fits, since no more than that was spliced."""
        cdef size_t done = 0
        cdef ssize_t taken
        while done < size:
            taken = read(self._pipe[0], self._buffer + PREFIX + done, size - done)
            if taken > 0:
                done += taken
            elif taken == 0 or errno != EINTR:
                PyErr_SetFromErrno(OSError)
        return 0

    def begin(self, Flow flow not None, bytes answer not None):
        """Write the answer to the browser's opening handshake, ahead of the first frame."""
        cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(answer)
        cdef size_t size = PyBytes_GET_SIZE(answer)
        cdef ssize_t sent = send(flow.sink, data, size, MSG_NOSIGNAL | MSG_DONTWAIT)
        if sent < 0:
            if errno != EAGAIN and errno != EINTR:
                flow.error = errno
                return SINK_ERROR
            sent = 0
        if <size_t>sent != size:
            self._stash(flow, data + sent, size - sent)
        return 0

    def feed(self, Flow flow not None, bytes data not None):
        """Account for bytes that the gateway had already read, as if just received."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        if size > self._capacity:
            raise ValueError(f"{size} bytes at once, at most {self._capacity}")
        memcpy(self._buffer + PREFIX, PyBytes_AS_STRING(data), size)
        return self._process(flow, PREFIX + size)

    cdef inline int _process(self, Flow flow, Py_ssize_t end) except -1:
        """Walk what was received, whatever the flow's state, and send it."""
        cdef Py_ssize_t start = PREFIX
        cdef int found = 0
        cdef uint64_t size
        if flow.held_size:
            start -= flow.held_size
            memcpy(self._buffer + start, flow.held_bytes, flow.held_size)
            free(flow.held_bytes)
            flow.held_bytes = NULL
            flow.held_size = 0
        size = end - start
        if flow.mode == RELAY and flow.remaining >= size:
            flow.remaining -= size
            flow.active_at = self.now
            self._alone = True
            if flow.stop and flow.remaining == 0:
                flow.mode = DISCARD
        elif flow.mode == DEAD:
            return 0
        else:
            found = self._walk(flow, &start, &end)
        if start != end:
            found |= self._send(flow, start, end)
        if flow.wanted and (flow.remaining == 0 or flow.mode != RELAY) and flow.waiting == NULL:
            found |= BOUNDARY
        return found

    cdef inline int _send(self, Flow flow, Py_ssize_t start, Py_ssize_t end) except -1:
        cdef ssize_t sent = 0
        cdef int flags = MSG_NOSIGNAL | MSG_DONTWAIT
        # While much of a frame is still to come the kernel need not send a short segment for the tail of a
        # write. It may hold that back for 200 ms, so the write must have bytes of that frame only.
        if flow.remaining >= SPLICE_FROM and self._alone and flow.mode == RELAY:
            flags |= MSG_MORE
        while flow.waiting == NULL:
            sent = send(flow.sink, self._buffer + start, end - start, flags)
            if sent >= 0:
                break
            if errno == EINTR:
                continue
            if errno == EAGAIN:
                sent = 0
                break
            flow.error = errno
            return SINK_ERROR
        if sent != end - start:
            self._stash(flow, self._buffer + start + sent, end - start - sent)
        return 0

    cdef int _stash(self, Flow flow, const uint8_t *data, size_t size) except -1:
        """Keep bytes for the sink, behind those that already wait for it."""
        cdef size_t before = 0 if flow.waiting == NULL else _size(flow.waiting)
        cdef Stash *stash = <Stash *>malloc(sizeof(Stash) + before + size)
        if stash == NULL:
            raise MemoryError
        stash.start = 0
        stash.end = before + size
        if before:
            memcpy(_first(stash), _first(flow.waiting), before)
        memcpy(_first(stash) + before, data, size)
        self._words[STASHED_WORD] += size
        if self._words[STASHED_WORD] > SCARCE_FROM:
            self._most = min(self.window, SCARCE_BYTES)
        return self._keep(flow, stash)

    cdef int _keep(self, Flow flow, Stash *stash) except -1:
        """Let other bytes wait for the sink, or none; what we want from both sources changes with that."""
        free(flow.waiting)
        flow.waiting = stash
        self._apply(flow)
        if flow.opposite is not None:
            self._apply(flow.opposite)
        return 0

    cdef void _unstash(self, size_t size) noexcept:
        """Account for bytes that are stashed no more."""
        self._words[STASHED_WORD] -= size
        if self._words[STASHED_WORD] <= SCARCE_FROM:
            self._most = self.window

    cpdef int flush(self, Flow flow) except -1:
        """Write the stash; when it is gone, read the source again."""
        cdef ssize_t sent
        if flow.waiting == NULL:
            return 0
        sent = send(flow.sink, _first(flow.waiting), _size(flow.waiting), MSG_NOSIGNAL | MSG_DONTWAIT)
        if sent < 0:
            if errno == EAGAIN or errno == EINTR:
                return 0
            flow.error = errno
            self.drop_stash(flow)
            return SINK_ERROR
        self._unstash(sent)
        flow.waiting.start += sent
        if _size(flow.waiting):
            return 0
        self._keep(flow, NULL)
        return BOUNDARY if flow.wanted else 0

    cpdef drop_stash(self, Flow flow):
        """Throw the stash away: its sink is gone."""
        if flow.waiting != NULL:
            self._unstash(_size(flow.waiting))
            self._keep(flow, NULL)

    def inject(self, Flow flow not None, bytes frame not None):
        """Write a control frame of ours. Only at a boundary (I1): check `at_boundary` first."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(frame)
        memcpy(self._buffer + PREFIX, PyBytes_AS_STRING(frame), size)
        return self._send(flow, PREFIX, PREFIX + size)
