# The compiled twin of `flow_pure`.

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
    """One direction of a session; attributes as in `flow_pure.Flow`."""

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
