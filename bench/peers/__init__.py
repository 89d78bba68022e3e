"""The proxies side by side, in the order of the tables."""

from __future__ import annotations

from bench.peers.base import Peer
from bench.peers.haproxy import HAProxy, HAProxySplice
from bench.peers.nginx import Nginx, NginxLargeBuffers
from bench.peers.yardstick import Yardstick

PEERS: tuple[Peer, ...] = (
    Yardstick(),
    Nginx(),
    NginxLargeBuffers(),
    HAProxy(),
    HAProxySplice(),
)
