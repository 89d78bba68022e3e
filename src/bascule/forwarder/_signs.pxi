# The numbers of `signs` and of handover/counters.py, as C constants; test_twins.py and test_splicing.py compare them.

cdef enum:
    PREFIX = 256
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
