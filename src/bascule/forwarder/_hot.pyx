# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, auto_pickle=False
"""The hot path compiled: what `hot_pure` does, action for action, on C state and system calls.

Read `hot_pure`, `flow_pure` and `walk_pure` first; their rules hold here, and
tests/forwarder/test_twins.py feeds both the same bytes. What is different:

* a flow's state is C fields of one object; a turn of the loop that only moves frames
  touches no Python object and allocates nothing;
* ``epoll_wait``, ``recv``, ``send`` and ``splice`` are called directly;
* the allocator hook lives here: `count_allocations` wraps CPython's allocators and adds
  up the bytes requested from them; ``ws_pool_alloc_bytes_per_second`` shows the rate.

The GIL is kept while waiting: a forwarder has one thread, and letting go of it costs
more than a small frame.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals, PyErr_SetFromErrno
from libc.errno cimport EAGAIN, EINTR, EINVAL, ENOSYS, errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove, memset

from bascule.protocol.frames import OUR_PING_PAYLOAD, mask, parse_close_payload

cdef extern from *:
    """
    #ifndef __OPTIMIZE__
    #error "bascule: the hot path was compiled without optimisation; build it with -O2"
    #endif
    /* The lines of a flow that a message needs, on their way while the one before is served. */
    #define bascule_fetch(flow) (__builtin_prefetch(flow), __builtin_prefetch((const char *)(flow) + 64))
    /* A yes or no in one byte; Cython's own is an int. */
    typedef _Bool bascule_flag;
    """
    void _fetch "bascule_fetch"(const void *flow) nogil
    ctypedef bint flag "bascule_flag"

cdef extern from "sys/types.h":
    ctypedef long ssize_t

cdef extern from "sys/socket.h" nogil:
    ssize_t recv(int fd, void *buf, size_t len, int flags)
    ssize_t send(int fd, const void *buf, size_t len, int flags)
    int MSG_NOSIGNAL
    int MSG_DONTWAIT
    int MSG_MORE

cdef extern from "sys/epoll.h" nogil:
    ctypedef union epoll_data_t:
        int fd
        uint64_t u64
    cdef struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event *event)
    int epoll_wait(int epfd, epoll_event *events, int maxevents, int timeout)
    int EPOLL_CLOEXEC
    int EPOLL_CTL_ADD
    int EPOLL_CTL_DEL
    int EPOLL_CTL_MOD
    uint32_t EPOLLIN
    uint32_t EPOLLOUT
    uint32_t EPOLLONESHOT
    uint32_t EPOLLRDHUP
    uint32_t EPOLLHUP
    uint32_t EPOLLERR

cdef extern from "time.h" nogil:
    ctypedef long time_t
    cdef struct timespec:
        time_t tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec *now)
    int CLOCK_MONOTONIC

cdef extern from "unistd.h" nogil:
    int close(int fd)
    ssize_t read(int fd, void *buf, size_t count)

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <fcntl.h>
    #include <unistd.h>
    """

cdef extern from "fcntl.h" nogil:
    int pipe2(int *ends, int flags)
    int fcntl(int fd, int command, ...)
    ssize_t splice(int fd_in, void *off_in, int fd_out, void *off_out, size_t len, unsigned int flags)
    int O_CLOEXEC
    int O_NONBLOCK
    int F_SETPIPE_SZ
    unsigned int SPLICE_F_MORE
    unsigned int SPLICE_F_MOVE
    unsigned int SPLICE_F_NONBLOCK

cdef enum:
    MAX_EVENTS = 256
    PREFIX = 256
    PIPE_BYTES = 1048576

# The numbers of `signs`, as C constants; test_twins.py and test_splicing.py compare them.
cdef enum:
    RELAY = 0
    DISCARD = 1
    DEAD = 2
    EOF_ = 1
    ERROR_ = 2
    SINK_ERROR = 4
    PING = 8
    CLOSE = 16
    FAULT = 32
    BOUNDARY = 64
    LEFT = 128
    PONG = 256
    FAULT_PROTOCOL = 1
    FAULT_TOO_BIG = 2
    MAX_PINGS = 16
    SPLICE_FROM = 65536
    GLIMPSE = 16384
    SCARCE_FROM = 4194304
    SCARCE_BYTES = 16384

# Words of the forwarder's block (handover/counters.py).
cdef enum:
    STASHED_WORD = 4
    PAYLOAD_INBOUND = 6
    PAYLOAD_OUTBOUND = 7
    FRAMES_INBOUND = 32
    FRAMES_OUTBOUND = 48


cdef inline double _monotonic() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec + now.tv_nsec * 1e-9


cdef struct Stash:
    # The bytes themselves follow; those from `start` to `end` still wait.
    size_t start
    size_t end


cdef inline uint8_t *_first(const Stash *stash) noexcept nogil:
    """Return where the bytes begin that wait."""
    return <uint8_t *>(stash + 1) + stash.start


cdef inline size_t _size(const Stash *stash) noexcept nogil:
    return stash.end - stash.start


cdef class Flow:
    """One direction of a session; attributes as in `hot_pure.Flow`."""

    # There are two of these for each session, so no field is wider than what it holds. Those that every message
    # needs come first: they fill two cache lines.
    cdef public int source
    cdef public int sink
    cdef readonly uint64_t remaining
    cdef Stash *waiting
    cdef public double active_at
    cdef readonly uint64_t frames
    cdef readonly uint64_t payload
    cdef readonly uint64_t limit
    cdef readonly uint32_t interest
    cdef readonly uint16_t close_code
    cdef readonly uint8_t error  # Linux numbers its errors up to 133
    cdef public uint8_t mode
    cdef readonly uint8_t rsv_first
    cdef readonly uint8_t rsv_continuation
    cdef uint8_t held_size
    cdef readonly uint8_t fault
    cdef readonly flag inbound
    cdef readonly flag in_message
    cdef readonly flag large
    cdef readonly flag reading
    cdef readonly flag left
    cdef public flag stop
    cdef public flag wanted
    # These five belong to the owner; the engine ignores them.
    cdef public flag heard
    cdef public flag gone
    cdef public flag told
    cdef public flag closed
    cdef public flag shut
    cdef uint8_t *held_bytes
    cdef public object session
    cdef public Flow opposite
    cdef public list pings
    cdef readonly object close_reason
    cdef public object pending  # the owner's too

    def __init__(self, session, int source, int sink, bint inbound, uint64_t limit,
                 int rsv_first, int rsv_continuation, double now):
        self.session = session
        self.source = source
        self.sink = sink
        self.inbound = inbound
        self.limit = limit
        self.rsv_first = rsv_first
        self.rsv_continuation = rsv_continuation
        self.reading = True
        self.close_reason = b""
        self.active_at = now

    def __dealloc__(self):
        free(self.held_bytes)
        free(self.waiting)

    @property
    def at_boundary(self):
        """Whether everything written so far ends at a frame boundary, and nothing is stashed."""
        return self.remaining == 0 and self.waiting == NULL

    @property
    def stash(self):
        """Bytes received that the sink could not take yet, or ``None``."""
        if self.waiting == NULL:
            return None
        return (<char *>_first(self.waiting))[:_size(self.waiting)]

    @property
    def stashed(self):
        """Bytes in the stash."""
        return 0 if self.waiting == NULL else _size(self.waiting)

    @property
    def held(self):
        """An unfinished header or control frame, or ``None``."""
        if not self.held_size:
            return None
        return (<char *>self.held_bytes)[:self.held_size]


cdef class Engine:
    """Epoll, the shared receive buffer and everything that happens per message."""

    name = "compiled"

    cdef readonly Py_ssize_t window
    cdef readonly double now
    cdef int _epoll
    cdef int _pipe[2]
    cdef uint8_t *_buffer
    cdef Py_ssize_t _capacity
    cdef Py_ssize_t _most  # to be received at once
    cdef uint64_t *_words
    cdef object _words_owner
    cdef list _table
    cdef epoll_event _events[MAX_EVENTS]
    cdef bint _alone  # whether the bytes to send belong to one frame only, of which more is still to come

    cdef void _close_pipe(self) noexcept:
        if self._pipe[0] >= 0:
            close(self._pipe[0])
            close(self._pipe[1])
        self._pipe[0] = self._pipe[1] = -1

    def __cinit__(self, Py_ssize_t window, words, Py_ssize_t early=0):
        self._epoll = self._pipe[0] = self._pipe[1] = -1  # what fails below must not close descriptor 0
        cdef uint64_t[:] view = words
        self.window = self._most = window
        self._capacity = max(window, early)
        self._epoll = epoll_create1(EPOLL_CLOEXEC)
        if self._epoll < 0:
            PyErr_SetFromErrno(OSError)
        self._buffer = <uint8_t *>malloc(PREFIX + self._capacity)
        if self._buffer == NULL:
            raise MemoryError
        # One pipe for all sessions: every turn leaves it empty. If none can be had, as when descriptors
        # are short, all payload is copied.
        if pipe2(self._pipe, O_CLOEXEC | O_NONBLOCK) < 0:
            self._pipe[0] = self._pipe[1] = -1
        elif fcntl(self._pipe[1], F_SETPIPE_SZ, PIPE_BYTES) < 0:
            self._close_pipe()
        self._words_owner = words
        self._words = &view[0]
        self._table = []
        self.now = _monotonic()

    def __dealloc__(self):
        if self._epoll >= 0:
            close(self._epoll)
            self._close_pipe()
        free(self._buffer)

    def close(self):
        """Release the descriptors."""
        if self._epoll >= 0:
            close(self._epoll)
            self._epoll = -1
            self._close_pipe()

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
        cdef int found
        if event & (EPOLLOUT | EPOLLHUP | EPOLLERR) and flow.opposite is not None:
            found = self._flush(flow.opposite)
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
        if flow.remaining >= SPLICE_FROM and flow.mode == RELAY and self._pipe[0] >= 0:
            return self._splice(flow)
        return self._receive(flow)

    cdef int _receive(self, Flow flow) except -1:
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
        """Move payload of the current frame, at most what is received at once and not beyond its end.

        SIGPIPE is ignored by CPython; splice has no flag for it.
        """
        cdef size_t most = self._most
        cdef ssize_t size, moved
        cdef size_t done = 0
        cdef int found = 0
        cdef bint refused = False
        if flow.remaining < most:
            most = flow.remaining
        size = splice(flow.source, NULL, self._pipe[1], NULL, most, SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
        if size < 0:
            if errno == EINVAL or errno == ENOSYS:
                self._close_pipe()  # this kernel or this kind of socket cannot splice: copy from now on
            elif errno != EAGAIN and errno != EINTR:
                flow.error = errno
                return ERROR_
        if size <= 0:
            # Do not trust "nothing there" or "the end" from splice: it stops in front of a TCP urgent
            # byte and reports either, while epoll keeps reporting that there is something to read.
            return self._receive(flow)
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
            elif moved == 0 or errno == EAGAIN:
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
            free(flow.waiting)
        memcpy(_first(stash) + before, data, size)
        flow.waiting = stash
        self._words[STASHED_WORD] += size
        if self._words[STASHED_WORD] > SCARCE_FROM:
            self._most = min(self.window, SCARCE_BYTES)
        self._apply(flow)
        if flow.opposite is not None:
            self._apply(flow.opposite)
        return 0

    cdef void _unstash(self, size_t size) noexcept:
        """Account for bytes that are stashed no more."""
        self._words[STASHED_WORD] -= size
        if self._words[STASHED_WORD] <= SCARCE_FROM:
            self._most = self.window

    cdef int _forget_stash(self, Flow flow) except -1:
        free(flow.waiting)
        flow.waiting = NULL
        self._apply(flow)
        if flow.opposite is not None:
            self._apply(flow.opposite)
        return 0

    cdef int _flush(self, Flow flow) except -1:
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
        self._forget_stash(flow)
        return BOUNDARY if flow.wanted else 0

    def flush(self, Flow flow not None):
        """Write the stash; when it is gone, read the source again."""
        return self._flush(flow)

    cpdef drop_stash(self, Flow flow):
        """Throw the stash away: its sink is gone."""
        if flow.waiting != NULL:
            self._unstash(_size(flow.waiting))
            self._forget_stash(flow)

    def inject(self, Flow flow not None, bytes frame not None):
        """Write a control frame of ours. Only at a boundary (I1): check `at_boundary` first."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(frame)
        memcpy(self._buffer + PREFIX, PyBytes_AS_STRING(frame), size)
        return self._send(flow, PREFIX, PREFIX + size)

    # -- the header walk --------------------------------------------------------------

    def walk(self, Flow flow not None, Py_ssize_t start, Py_ssize_t end):
        """Walk what is in the buffer, as `hot_pure.Engine.walk` does (for tests and measurements)."""
        cdef int found = self._walk(flow, &start, &end)
        return start, end, found

    def load(self, bytes data not None):
        """Put bytes into the receive window; return where they begin (for tests and measurements)."""
        if PyBytes_GET_SIZE(data) > self._capacity:
            raise ValueError("more than the window")
        memcpy(self._buffer + PREFIX, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        return PREFIX

    cdef Py_ssize_t _join(self, Py_ssize_t written, Py_ssize_t run, Py_ssize_t position) noexcept:
        if written == run:
            return position
        memmove(self._buffer + written, self._buffer + run, position - run)
        return written + position - run

    cdef int _walk(self, Flow flow, Py_ssize_t *first_byte, Py_ssize_t *last_byte) except -1:
        cdef uint8_t *buffer = self._buffer
        cdef Py_ssize_t start = first_byte[0]
        cdef Py_ssize_t end = last_byte[0]
        cdef Py_ssize_t position = start
        cdef Py_ssize_t out = start
        cdef Py_ssize_t written = start
        cdef Py_ssize_t run = start
        cdef Py_ssize_t frame = start - 1
        cdef Py_ssize_t available, step, rest_start, rest_end
        cdef uint64_t remaining = flow.remaining
        cdef uint64_t length
        cdef int found = 0
        cdef int header, total, index
        cdef uint8_t first, second, opcode, allowed
        cdef uint8_t must_mask = 0x80 if flow.inbound else 0
        cdef uint64_t *frames = self._words + (FRAMES_INBOUND if flow.inbound else FRAMES_OUTBOUND)
        cdef uint64_t *payload_word = self._words + (PAYLOAD_INBOUND if flow.inbound else PAYLOAD_OUTBOUND)
        cdef bint minimal, forward
        while True:
            if remaining:
                step = end - position
                if remaining < <uint64_t>step:
                    step = <Py_ssize_t>remaining
                position += step
                remaining -= step
                flow.active_at = self.now
                if remaining:
                    break
            if flow.stop and flow.mode == RELAY:
                written = self._join(written, run, position)
                flow.mode = DISCARD
                flow.remaining = 0
                if position < end:
                    rest_start = position
                    rest_end = end
                    found |= self._walk(flow, &rest_start, &rest_end)
                first_byte[0] = out
                last_byte[0] = written
                return found
            available = end - position
            if available < 2:
                break
            first = buffer[position]
            second = buffer[position + 1]
            opcode = first & 0x0F
            length = second & 0x7F
            header = 2
            if opcode & 0x8:
                if second & 0x80 != must_mask or opcode > 0xA or first & 0xF0 != 0x80 or length > 125:
                    flow.fault = FAULT_PROTOCOL
                    found |= FAULT
                    break
                if must_mask:
                    header = 6
                total = header + <int>length
                if available < total:
                    break
                if opcode == 0xA and not flow.inbound:
                    frames[10] += 1
                    position += total
                    continue
                payload = (<char *>buffer)[position + header:position + total]
                if must_mask:
                    payload = mask(payload, (<char *>buffer)[position + 2:position + 6])
                if opcode == 0xA and payload != OUR_PING_PAYLOAD:
                    frames[10] += 1
                    position += total
                    continue
                if opcode != 0x8:
                    frames[opcode] += 1
                    if opcode == 0xA:
                        found |= PONG
                    else:
                        found |= PING
                        if flow.pings is None:
                            flow.pings = [payload]
                        else:
                            if len(flow.pings) == MAX_PINGS:
                                del flow.pings[0]
                            flow.pings.append(payload)
                    written = self._join(written, run, position)
                    position += total
                    run = position
                    if written == out:
                        out = written = position
                    continue
                said = parse_close_payload(payload)
                if said is None:
                    flow.fault = FAULT_PROTOCOL
                    found |= FAULT
                    break
                frames[8] += 1
                flow.close_code = said[0] or 0
                flow.close_reason = said[1]
                found |= CLOSE
                position += total
                break
            allowed = flow.rsv_first if opcode else flow.rsv_continuation
            if (
                second & 0x80 != must_mask
                or opcode > 2
                or (opcode == 0) != flow.in_message
                or first & 0x70 & ~allowed
            ):
                flow.fault = FAULT_PROTOCOL
                found |= FAULT
                break
            minimal = True
            if length == 126:
                if available < 4:
                    break
                length = <uint64_t>buffer[position + 2] << 8 | buffer[position + 3]
                header = 4
                minimal = length > 125
            elif length == 127:
                if available < 10:
                    break
                length = 0
                for index in range(2, 10):
                    length = length << 8 | buffer[position + index]
                header = 10
                minimal = 65535 < length and not length >> 63
            if not minimal:
                flow.fault = FAULT_PROTOCOL
                found |= FAULT
                break
            if length > flow.limit:
                flow.fault = FAULT_TOO_BIG
                found |= FAULT
                break
            if must_mask:
                header += 4
            if available < header:
                break
            flow.in_message = not first & 0x80
            flow.large = length >= SPLICE_FROM
            frames[opcode] += 1
            flow.frames += 1
            flow.payload += length
            payload_word[0] += length
            flow.active_at = self.now
            frame = position
            position += header
            remaining = length
        flow.remaining = remaining
        if remaining >= SPLICE_FROM:
            self._alone = frame == out
        forward = flow.mode == RELAY
        if found & (CLOSE | FAULT):
            flow.mode = DEAD
        elif position < end:
            free(flow.held_bytes)  # nothing, except where a test walks twice without `_process`
            flow.held_bytes = <uint8_t *>malloc(end - position)
            if flow.held_bytes == NULL:
                raise MemoryError
            flow.held_size = <uint8_t>(end - position)
            memcpy(flow.held_bytes, buffer + position, end - position)
        if not forward:
            last_byte[0] = first_byte[0]
            return found
        first_byte[0] = out
        last_byte[0] = self._join(written, run, position)
        return found


# -- counting allocations -----------------------------------------------------------------

cdef extern from "Python.h":
    ctypedef enum PyMemAllocatorDomain:
        PYMEM_DOMAIN_RAW
        PYMEM_DOMAIN_MEM
        PYMEM_DOMAIN_OBJ
    ctypedef struct PyMemAllocatorEx:
        void *ctx
        void *(*malloc)(void *ctx, size_t size) noexcept nogil
        void *(*calloc)(void *ctx, size_t nelem, size_t elsize) noexcept nogil
        void *(*realloc)(void *ctx, void *ptr, size_t new_size) noexcept nogil
        void (*free)(void *ctx, void *ptr) noexcept nogil
    void PyMem_GetAllocator(PyMemAllocatorDomain domain, PyMemAllocatorEx *allocator)
    void PyMem_SetAllocator(PyMemAllocatorDomain domain, PyMemAllocatorEx *allocator)

cdef PyMemAllocatorEx _inner[3]
cdef uint64_t *_allocated = NULL
cdef object _allocated_owner = None


cdef void *_counting_malloc(void *ctx, size_t size) noexcept nogil:
    cdef PyMemAllocatorEx *inner = <PyMemAllocatorEx *>ctx
    _allocated[0] += size
    return inner.malloc(inner.ctx, size)


cdef void *_counting_calloc(void *ctx, size_t nelem, size_t elsize) noexcept nogil:
    cdef PyMemAllocatorEx *inner = <PyMemAllocatorEx *>ctx
    _allocated[0] += nelem * elsize
    return inner.calloc(inner.ctx, nelem, elsize)


cdef void *_counting_realloc(void *ctx, void *ptr, size_t new_size) noexcept nogil:
    cdef PyMemAllocatorEx *inner = <PyMemAllocatorEx *>ctx
    _allocated[0] += new_size
    return inner.realloc(inner.ctx, ptr, new_size)


cdef void _counting_free(void *ctx, void *ptr) noexcept nogil:
    cdef PyMemAllocatorEx *inner = <PyMemAllocatorEx *>ctx
    inner.free(inner.ctx, ptr)


def count_allocations(words, Py_ssize_t word):
    """Add every byte requested from CPython's allocators to one word, from now on.

    Wraps the memory and object domains and calls through; one addition per allocation. The raw
    domain is not wrapped: the other two request from it what is too large for pymalloc, which
    would be counted twice. Calling this twice is an error for the same reason.

    Args:
        words: The forwarder's counter block.
        word: Index of the word.

    Returns:
        True: they are counted from now on.

    Raises:
        RuntimeError: Already counting.
    """
    global _allocated, _allocated_owner
    cdef PyMemAllocatorEx hook
    cdef uint64_t[:] view = words
    cdef int domain
    if _allocated != NULL:
        raise RuntimeError("allocations are counted already")
    _allocated_owner = words
    _allocated = &view[word]
    for domain in range(PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ + 1):
        PyMem_GetAllocator(<PyMemAllocatorDomain>domain, &_inner[domain])
        hook.ctx = &_inner[domain]
        hook.malloc = _counting_malloc
        hook.calloc = _counting_calloc
        hook.realloc = _counting_realloc
        hook.free = _counting_free
        PyMem_SetAllocator(<PyMemAllocatorDomain>domain, &hook)
    return True
