"""How far a flow has ended: what its source has said, and what its sink has been told.

`Flow` records it; `bascule.forwarder.relay` says by which rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bascule.forwarder import signs

if TYPE_CHECKING:
    from bascule.forwarder.hot import Flow

__all__ = ["give_up", "has_closed", "is_over", "owes_close"]


def is_over(flow: Flow) -> bool:
    """Tell whether a flow's sink was told and has all of it, and its source has ended."""
    return bool(flow.told and flow.gone and not flow.stashed)


def has_closed(flow: Flow) -> bool:
    """Tell whether the Close of a flow's source has come, even if its sign has not been acted on yet."""
    return flow.mode == signs.DEAD and not flow.fault


def owes_close(flow: Flow) -> bool:
    """Tell whether a Close of ours still waits for a frame boundary."""
    return flow.pending is not None and bool(flow.pending.close)


def give_up(flow: Flow) -> None:
    """Say nothing more to a sink that is inside a frame which will never end: the frame's sender is gone.

    Only dropping the sink's connection is honest, so we do not wait for what its peer still says either.
    """
    assert flow.opposite is not None
    flow.told = flow.opposite.heard = True
