"""A plain request that has an upstream: it may pass, and what it says there is settled."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bascule.gateway.errands import errand_of

if TYPE_CHECKING:
    from multidict import CIMultiDict

    from bascule.gateway.plain.response import BrowserSide
    from bascule.gateway.plain.upload import Upload
    from bascule.policy.routes import Match
    from bascule.telemetry.errand import Client, Errand

__all__ = ["PlainAsked"]


class PlainAsked(NamedTuple):
    """Who asks an upstream for what.

    Attributes:
        browser: The side that asked.
        match: Where the request leads.
        headers: The fields for the upstream; a character for each byte.
        upload: The body; ``None`` for none.
        client: Who asks, for the log.
    """

    browser: BrowserSide
    match: Match
    headers: CIMultiDict[str]
    upload: Upload | None
    client: Client

    @property
    def errand(self) -> Errand:
        """For a line of the log."""
        return errand_of(self.match, self.client)
