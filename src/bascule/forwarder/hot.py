"""Choose the build of the hot path: compiled when it is there, pure otherwise.

``BASCULE_PURE=1`` forces the pure twin. This is the project's single environment
variable that is read at import: what is imported cannot be configured later.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bascule.forwarder.hot_pure import Engine, Flow, count_allocations
else:
    try:
        if os.environ.get("BASCULE_PURE", "") not in ("", "0"):
            raise ImportError("BASCULE_PURE is set")
        from bascule.forwarder._hot import Engine, Flow, count_allocations
    except ImportError:
        from bascule.forwarder.hot_pure import Engine, Flow, count_allocations

__all__ = ["Engine", "Flow", "count_allocations", "describe"]


def describe() -> str:
    """Return the build in use: ``compiled`` or ``pure``."""
    return Engine.name
