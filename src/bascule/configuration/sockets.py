"""TCP options, as they are configured; `bascule.policy.socketoptions` says what the kernel is told."""

from typing import Annotated

from pydantic import Field

from bascule.configuration.amounts import Positive
from bascule.configuration.durations import Duration, WholeSeconds
from bascule.configuration.model import Block

__all__ = ["CongestionControl", "Sockets"]

CongestionControl = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9_]{1,15}$",
        json_schema_extra={"x-allowed": "the name of an algorithm of the kernel, such as cubic"},
    ),
]


class Sockets(Block):
    """TCP options of both connections of a session, and of all others that are accepted."""

    no_delay: Annotated[bool, Field(strict=True)] = True
    """`TCP_NODELAY`: send small frames at once.

    On, because a keystroke must not wait for an acknowledgement.
    """
    keepalive_idle: WholeSeconds = 30.0
    """Silence after which the kernel probes a peer (`TCP_KEEPIDLE`), in whole seconds.

    30 s: below the 350 s of the strictest cloud load balancers' flow tables, and a dead laptop frees its
    slot.
    """
    keepalive_interval: WholeSeconds = 10.0
    """Time between probes (`TCP_KEEPINTVL`), in whole seconds.

    With three probes a dead peer is found within 60 s.
    """
    keepalive_probes: Annotated[int, Field(strict=True, ge=1, le=127)] = 3
    """Unanswered probes after which the peer is dead (`TCP_KEEPCNT`)."""
    user_timeout: Duration = 60.0
    """How long sent data may stay unacknowledged (`TCP_USER_TIMEOUT`); 0 is the kernel's own, about 15
    minutes.

    60 s: `keepaliveIdle` + `keepaliveProbes` x `keepaliveInterval`, so that busy and silent peers are
    detected in the same time. A live peer that reads nothing for that long, its window closed, is given up
    too.
    """
    notsent_lowat_bytes: Positive = 1048576
    """Unsent bytes in the kernel above which a socket counts as full (`TCP_NOTSENT_LOWAT`).

    1 MiB: less costs a fifth more CPU per GB in frames of 4 MiB, and a heartbeat queued behind that much gets
    through a 300 kbit/s line in half of the minute that an ingress waits.
    """
    congestion_control: CongestionControl | None = None
    """TCP's congestion control (`TCP_CONGESTION`), such as `cubic`; `null` keeps the node's setting.

    Between two processes of one node `bbr` costs two and a half times the CPU per GB in frames of 4 MiB; over
    a lossy network it is faster. The kernel must allow it to every process
    (`net.ipv4.tcp_allowed_congestion_control`).
    """
    backlog: Annotated[int, Field(strict=True, ge=1, le=65535)] = 4096
    """Connections the kernel holds before we accept them. The kernel's `net.core.somaxconn` bounds it too.

    4096: as many as that is by default, since those who wait cost little. What more clients send the kernel
    drops: their TCP sends it again after 0.2 s to 3 s, then ever more seldom. So they may wait 10 s for an
    answer that others have in one, or be closed for want of a head (`limits.handshakeTimeout`).
    """
