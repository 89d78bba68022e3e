"""The yardstick: bench/native/relay.c, the least that a relay on this kernel can cost.

It parses nothing and promises nothing.
"""

from __future__ import annotations

from bench.generators import build
from bench.peers.base import Launch, Peer, Setting


class Yardstick(Peer):
    """Every ratio of the tables is to this."""

    name = "yardstick"
    about = "bench/native/relay.c: bare epoll, recv + send, one shared buffer of 256 KiB, no parsing"
    parses = False

    def missing(self) -> str | None:
        """Only a C compiler is needed, and the load generator needs that too."""
        return None

    def version(self) -> str:
        """It has none."""
        return "of this commit, cc -O2"

    def launch(self, setting: Setting) -> Launch:
        """Two ports."""
        return Launch([str(build("relay")), str(setting.port), str(setting.upstream)])
