"""The proxies side by side, in the order of the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.peers.bascule import Bascule, BasculePure
from bench.peers.caddy import Caddy
from bench.peers.chp import ConfigurableHTTPProxy
from bench.peers.envoy import Envoy
from bench.peers.haproxy import HAProxy, HAProxySplice
from bench.peers.nginx import Nginx, NginxLargeBuffers
from bench.peers.python_relay import PythonRelay
from bench.peers.traefik import Traefik
from bench.peers.yardstick import Yardstick

if TYPE_CHECKING:
    from bench.peers.base import Peer

PEERS: tuple[Peer, ...] = (
    Yardstick(),
    Bascule(),
    BasculePure(),
    Nginx(),
    NginxLargeBuffers(),
    HAProxy(),
    HAProxySplice(),
    Envoy(),
    Traefik(),
    Caddy(),
    ConfigurableHTTPProxy(),
    PythonRelay(),
)
