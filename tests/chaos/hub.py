"""JupyterHub, as far as a proxy sees it: routes of users that come and go."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from tests.chaos.browsers import PATIENCE
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.chaos.scene import Scene

__all__ = ["come_and_go"]


async def come_and_go(scene: Scene) -> None:
    """Add and remove routes until cancelled; what the API has confirmed holds, whatever dies."""
    dice = random.Random(f"{scene.seed}/hub")
    there = dict.fromkeys(scene.paths, False)
    for route in there:
        scene.chronicle.now(route, False)
    while not scene.stopping:
        route = dice.choice(list(there))
        wanted = not there[route] or dice.random() < 0.2  # the Hub also adds what is there
        scene.chronicle.now(route, there[route], wanted)
        await asyncio.to_thread(_change, scene, route, wanted)
        there[route] = wanted
        scene.chronicle.now(route, wanted)
        await asyncio.sleep(dice.uniform(0.1, 3 if all(there.values()) else 1))


def _change(scene: Scene, route: str, wanted: bool) -> None:
    """Ask until it is done, as the Hub does."""
    body = {"target": scene.sessions_upstream.url, "user": route.rpartition("/")[2]} if wanted else None
    method, done = ("POST", (201,)) if wanted else ("DELETE", (204, 404))

    def is_done() -> bool:
        try:
            return scene.stopping or scene.api.call(method, f"/api/routes{route}", body)[0] in done
        except OSError:
            return False  # no gateway is there, or it leaves and hangs up

    eventually(is_done, PATIENCE, f"{method} of {route}")
