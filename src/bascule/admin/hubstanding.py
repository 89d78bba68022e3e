"""How far this instance has JupyterHub's routes in common with the other instances."""

from __future__ import annotations

import asyncio

__all__ = ["HubStanding"]


class HubStanding:
    """`bascule.admin.hubsharing.HubSharing` keeps it up to date; without that, there is nobody to ask.

    Attributes:
        complete: Cleared while there are no routes here and the other instances, which share theirs, have not
            been asked yet; otherwise set.
        failing: Other instances that did not share their routes with this one when they were last asked.
    """

    def __init__(self) -> None:
        self.complete = asyncio.Event()
        self.complete.set()
        self.failing = 0
