"""How long a repeat refusal is held before its Close.

JupyterLab's kernel connection and Streamlit reset their back-off when a socket
*opens*, and a refusal opens it (101, then Close). If we sent every Close at once, a refused
tab would reconnect at once, for ever. So we close the first refusal of a client for a path
immediately, as the contract demands, and hold each repeat longer, with jitter, up to a
maximum. A client that stays away is forgotten.

Rules of this file: time and randomness come as arguments; memory is bounded, in bytes too.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from typing import Final

__all__ = ["FIRST_HOLD", "MAX_CLIENTS", "HoldOff"]

FIRST_HOLD: Final = 0.5
"""Longest hold of a second refusal, in seconds; it doubles with each further one."""

MAX_CLIENTS: Final = 10_000
"""Most client-and-path pairs remembered; beyond, the one refused longest ago is forgotten."""


class HoldOff:
    """Remembers which clients were refused lately.

    Args:
        maximum: Longest hold in seconds; 0 switches holding off.
        randomness: Source of jitter.
    """

    def __init__(self, maximum: float, randomness: random.Random | None = None) -> None:
        self._maximum = maximum
        self._random = randomness or random.Random()
        self._refused: OrderedDict[int, tuple[int, float]] = OrderedDict()
        self._clients: OrderedDict[str, float] = OrderedDict()

    def refuse(self, client: str, path: bytes, now: float) -> float:
        """Note a refusal.

        Args:
            client: The user's name where it is known, else the client's address.
            path: The path it asked for, without the query.
            now: Monotonic time, in seconds.

        Returns:
            For how many seconds to hold this refusal.
        """
        key = _key(client, path)
        times, last_end = self._refused.pop(key, (0, 0.0))
        if now - last_end > self.memory:
            times = 0
        hold = 0.0
        if times:
            longest = min(self._maximum, FIRST_HOLD * 2 ** min(times - 1, 16))
            # Never under half: the mean must grow, or the storm goes on.
            hold = longest * (0.5 + 0.5 * self._random.random())
        self._refused[key] = (times + 1, now + hold)
        if len(self._refused) > MAX_CLIENTS:
            self._refused.popitem(last=False)
        return hold

    def is_new(self, client: str, now: float) -> bool:
        """Note a refusal, and tell whether this client was not refused lately, whatever the path."""
        last = self._clients.pop(client, None)
        self._clients[client] = now
        if len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)
        return last is None or now - last > self._maximum + self.memory

    @property
    def any_refused(self) -> bool:
        """Whether anything is known of any client; otherwise there is nothing to forget."""
        return bool(self._refused)

    @property
    def memory(self) -> float:
        """Seconds after which a client that stayed away counts as new."""
        return self._maximum + 10.0

    def admitted(self, client: str, path: bytes) -> None:
        """Forget that a client was refused for a path: it was admitted."""
        self._refused.pop(_key(client, path), None)


def _key(client: str, path: bytes) -> int:
    """Return a number that stands for a client and a path; the path may be as long as a request head.

    Two pairs that collide, once in 2^60, share a hold; the hash is keyed, so no client can bring that about.
    """
    return hash((client, path))
