# The compiled twin of `walk_pure`. It needs no `_skip`: here each frame costs no more.

cdef class HeaderWalk:
    """The window and what walks it."""

    cdef readonly Py_ssize_t window
    cdef readonly double now
    cdef uint8_t *_buffer
    cdef Py_ssize_t _capacity
    cdef uint64_t *_words
    cdef object _words_owner
    cdef bint _alone  # whether the bytes to send belong to one frame only, of which more is still to come

    def __cinit__(self, Py_ssize_t window, words, Py_ssize_t early=0):
        cdef uint64_t[:] view = words
        self.window = window
        self._capacity = max(window, early)
        self._buffer = <uint8_t *>malloc(PREFIX + self._capacity)
        if self._buffer == NULL:
            raise MemoryError
        self._words_owner = words
        self._words = &view[0]
        self.now = _monotonic()

    def __dealloc__(self):
        free(self._buffer)

    def walk(self, Flow flow not None, Py_ssize_t start, Py_ssize_t end):
        """Walk what is in the buffer, as `walk_pure.HeaderWalk.walk` does (for tests and measurements)."""
        cdef int found = self._walk(flow, &start, &end)
        return start, end, found

    def load(self, bytes data not None):
        """Put bytes into the receive window; return where they begin (for tests and measurements)."""
        if PyBytes_GET_SIZE(data) > self._capacity:
            raise ValueError("more than the window")
        memcpy(self._buffer + PREFIX, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        return PREFIX

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
        cdef int header, total, index, said
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
                # Everything up to here is forwarded; from here on frames are only walked.
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
                # §5.5: a control frame is whole, unextended and at most 125 bytes long.
                if second & 0x80 != must_mask or opcode > 0xA or first & 0xF0 != 0x80 or length > 125:
                    flow.fault = FAULT_PROTOCOL
                    found |= FAULT
                    break
                if must_mask:
                    header = 6
                total = header + <int>length
                if available < total:
                    break
                said = self._read_control(flow, position, header, total)
                found |= said
                if said & FAULT:
                    break
                if said & (PING | PONG):
                    written = self._join(written, run, position)
                    position += total
                    run = position
                    if written == out:
                        out = written = position
                    continue
                position += total
                if said & CLOSE:
                    break
                continue
            # §5.2 and §5.4: data frames.
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

    cdef int _read_control(self, Flow flow, Py_ssize_t position, int header, int total) except -1:
        """Read a control frame that is whole, and count it.

        Returns:
            `CLOSE` or `FAULT`, behind which nothing is forwarded; `PING` or `PONG`, which are not forwarded
            themselves; otherwise 0.
        """
        cdef uint8_t *frame = self._buffer + position
        cdef uint8_t opcode = frame[0] & 0x0F
        cdef uint64_t *frames = self._words + (FRAMES_INBOUND if flow.inbound else FRAMES_OUTBOUND)
        if opcode == 0xA and not flow.inbound:
            frames[opcode] += 1
            return 0
        cdef bytes payload = (<char *>frame)[header:total]
        if flow.inbound:
            payload = mask(payload, (<char *>frame)[2:6])
        if opcode == 0x8:
            said = parse_close_payload(payload)
            if said is None:
                flow.fault = FAULT_PROTOCOL
                return FAULT
            flow.close_code = said[0] or 0
            flow.close_reason = said[1]
        frames[opcode] += 1
        if opcode == 0x8:
            return CLOSE
        if opcode == 0xA:
            return PONG if payload == OUR_PING_PAYLOAD else 0
        if flow.pings is None:
            flow.pings = []
        elif len(flow.pings) == MAX_PINGS:
            del flow.pings[0]
        flow.pings.append(payload)
        return PING

    cdef Py_ssize_t _join(self, Py_ssize_t written, Py_ssize_t run, Py_ssize_t position) noexcept:
        if written == run:
            return position
        memmove(self._buffer + written, self._buffer + run, position - run)
        return written + position - run
