"""Bounds before and beside a session, as they are configured."""

from typing import Annotated

from pydantic import Field

from bascule.configuration.amounts import Count, Positive
from bascule.configuration.durations import Duration, PositiveDuration
from bascule.configuration.model import Block
from bascule.configuration.route import RejectMode

__all__ = ["Limits"]


class Limits(Block):
    """Bounds on what a peer can make us hold or wait for, before and beside a session.

    Of the time in which a request or an answer has to come, what the gateway stood still does not count, for
    want of a core or because the container was frozen.
    """

    request_head_bytes: Annotated[int, Field(strict=True, ge=1024, le=1048576)] = 32768
    """Largest request head (request line and fields) in bytes; a larger one is answered with 431.

    32 KiB: JupyterHub and single sign-on cookies together reach 16 KiB; nginx's default is 4 x 8 KiB.
    """
    request_fields: Annotated[int, Field(strict=True, ge=8, le=10000)] = 100
    """Most fields in a request head. 100 is what Apache and most servers take; browsers send about 20."""
    handshake_timeout: PositiveDuration = 10.0
    """Time in which a whole request head must arrive; then the connection is closed.

    Over TLS the time for the first head begins once TLS is set up, which may itself take as long, its wait
    for a turn among many not counted; on a kept-alive connection it begins with the head's first byte. A
    connection that sends nothing waits in the kernel for about 5 s before its time begins. On the admin
    listener a body has as long again. 10 s: a head is one or two packets, and a deadline for the whole of it
    is what stops a slow-loris client.
    """
    connect_timeout: PositiveDuration = 5.0
    """Time to connect to the upstream, name resolution and TLS included; then the browser is told 1013.

    5 s covers two lost SYN packets (1 s and 2 s later). The addresses of a name are tried in turn and share
    this time. Keep it below the ingress's read timeout, which runs meanwhile.
    """
    upstream_handshake_timeout: PositiveDuration = 30.0
    """Time for the upstream to answer the upgrade. 30 s: Jupyter answers only when the kernel has started."""
    closing_handshake_timeout: PositiveDuration = 5.0
    """Time for the other side to answer our Close before its connection is dropped.

    5 s: an answer is one round trip, and the slot is held while we wait. While a slow side still takes what
    was said before the Close, it counts anew, for 300 s at most. A browser that was refused holds no slot and
    has 2 s.
    """
    pong_timeout: Duration = 0.0
    """Time in which a browser has to answer a heartbeat, which then is a ping; 0, the default, asks for no
    answer.

    For an ingress or load balancer that keeps a connection long after its browser is gone (a closed laptop,
    another network): TCP finds that out between it and the browser only, after up to 15 minutes, and our
    heartbeats keep it from timing out sooner. A browser that has sent nothing for this long after a ping gets
    a Close with 1012: a heartbeat and this time after its last sign of life, at the latest. Browsers
    answer by themselves, and RFC 6455 asks every client to. 60 s is a good value: on a slow line the ping may
    wait behind a megabyte of output that the ingress holds. Needs `heartbeatIntervalMs`.
    """
    max_handshakes: Positive = 1024
    """Most connections at once that have not sent a whole request head; beyond it the oldest is dropped.

    They do not count against the cap, so they need a bound of their own; 1024 of them cost a few MiB. Once
    its head has arrived and the upstream is being dialled, an upgrade holds a slot of the cap.
    """
    max_idle_connections: Positive = 2048
    """Most connections kept open at once between plain HTTP requests; beyond that the one that has been idle
    longest is closed, and so are some when no descriptor is left for a new connection.

    2048 of them cost 19 MiB. An ingress keeps tens or hundreds, a browser six; each is closed after 75 s. A
    client that sends one request after another and does not read the answers counts as well, at about 1 MB,
    most of it in the kernel; it is cut when it has read nothing for 60 s to 120 s.
    """
    max_sessions_per_user: Count = 0
    """Most WebSocket sessions that one user may have at once on this pod; 0, the default, sets no limit.

    Users are known on routes with `auth: session`, and on JupyterHub's, where the user is the server's owner.
    One upgrade more is answered with 101 and Close 1013, and does not count as a rejection by the cap while
    the pod has room. Off, because a person with two notebooks, a terminal and a second window holds eight; 50
    stops a loop that opens sockets for ever.
    """
    max_held_refusals: Count = 256
    """Most refused sockets held open at once to slow down clients that retry immediately; 0 never holds one.

    Beyond it, refusals are sent without a delay. 256 sockets are 1 MiB at most.
    """
    early_bytes: Annotated[int, Field(strict=True, ge=0, le=65536)] = 65536
    """Most bytes that may come together with an upgrade's head; they are forwarded after the 101.

    More is answered with 400. What a client sends later, before its 101, waits in the kernel. 64 KiB holds
    the first messages of any known client.
    """
    max_http_requests: Positive = 1000
    """Most plain HTTP requests under way at once, downloads and event streams among them; more get 503.

    They draw nothing from the cap, so they need a bound of their own: one with a side that stalls holds up to
    1 MB. A page of JupyterLab has about ten under way while it loads, and none or one afterwards. An upgrade
    whose upstream's refusal is being relayed counts as one.
    """
    http_upstream_timeout: Duration = 300.0
    """Time to the first byte of an upstream's answer to a plain HTTP request; 0 waits for ever.

    5 min: Jupyter exports large notebooks synchronously. Then 504.
    """
    send_timeout: Duration = 60.0
    """Time for which a client may take nothing of an answer while more of it waits; 0 waits for ever.

    Then the connection is cut, up to twice as late: a thousand clients that stall would otherwise keep
    everybody from `maxHttpRequests`. Whoever takes a little in each such time may take as long as it likes.
    60 s as in nginx; a download that is paused in a browser for longer has to be resumed or started again.
    Sessions are not concerned.
    """
    refusal_hold_max: Duration = 30.0
    """Longest time a repeated refusal is held before its Close.

    JupyterLab and Streamlit retry at once, for ever, when refused after a 101; so each repeat is held longer,
    from nothing up to this. 30 s stays below the 60 s of an ingress.
    """
    reject_mode: RejectMode = "close"
    """How an upgrade is told that there is no room or no upstream, or that the pod is going away.

    `close`, the default, is the pool's way: 101 and a Close with a code and a reason. `http503` is 503 with
    the reason as its body and `Retry-After`: for clients that are programs, or an ingress that tries another
    pod. Browsers show scripts nothing of it but 1006, and a JupyterLab kernel connection whose first
    upgrade fails this way never offers its subprotocol again. `rejectMode` of a route comes before this.
    """
