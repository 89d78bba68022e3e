"""What upstreams say to an upgrade: a head is read once, and remembered if it is a 101.

An application says the same to every browser, but for the answer to our key, and perhaps the date. So two
101s that are equal around the right answer to their keys, and answer the same offer, mean the same.

Rules of this file: pure; memory is bounded, in bytes too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from bascule.policy.forwarding import end_to_end_fields
from bascule.protocol.handshake import Agreement, accept_value, check_response
from bascule.protocol.http1 import BadHead, parse_response_head

if TYPE_CHECKING:
    from bascule.protocol.handshake import Offer
    from bascule.protocol.http1 import ResponseHead

__all__ = ["Agreements"]

_REMEMBERED: Final = 256
"""101s that are kept; then the memory is emptied, so it cannot grow."""

_LONGEST: Final = 2048
"""Bytes of a 101 and the offer that it answers; longer ones are not remembered."""

_Said: TypeAlias = tuple[bytes, bytes, tuple[bytes, ...], frozenset[bytes]]
"""A 101 before and behind the answer to our key, and the subprotocols and extensions that were offered."""


class Agreements:
    """Reads the heads of upstreams' answers.

    Args:
        max_fields: Most fields of a head.
    """

    def __init__(self, max_fields: int) -> None:
        self._max_fields = max_fields
        self._known: dict[_Said, Agreement] = {}

    def __len__(self) -> int:
        return len(self._known)

    def read(self, raw: bytes, offer: Offer, key: bytes) -> Agreement | ResponseHead:
        """Read a head, up to and with its empty line.

        Args:
            raw: The head.
            offer: What the browser offered.
            key: The ``Sec-WebSocket-Key`` that *we* sent.

        Returns:
            What a 101 agrees to, with all fields that the browser's 101 is to have; any other answer's head.

        Raises:
            BadHead: It is malformed, has too many fields, or is a 101 that does not answer us.
        """
        accept = accept_value(key)
        before, _, behind = raw.partition(accept)  # without the answer nothing is behind it: never known
        said = before, behind, offer.subprotocols, offer.extensions
        if (known := self._known.get(said)) is not None:
            return known
        head = parse_response_head(raw, self._max_fields)
        if head.status != 101:
            return head
        agreement = check_response(head, offer, key)
        if agreement is None:
            raise BadHead(502, "a 101 that does not match our handshake")
        others = [
            field
            for field in end_to_end_fields(head.fields, 101)
            if not field[0].lower().startswith(b"sec-websocket-")
        ]
        agreement = agreement._replace(fields=(*agreement.fields, *others))
        # A second copy would be known from then on, and could stand where the next answer belongs.
        if accept not in behind and _size(raw, offer) <= _LONGEST:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[said] = agreement
        return agreement


def _size(raw: bytes, offer: Offer) -> int:
    return len(raw) + sum(map(len, offer.subprotocols)) + sum(map(len, offer.extensions))
