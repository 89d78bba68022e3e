"""Choose the build of the hot path: compiled when it is there, pure otherwise.

``BASCULE_PURE=1`` forces the pure twin. This is the project's single environment
variable that is read at import: what is imported cannot be configured later.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bascule.forwarder.hot_pure import Engine, Flow
else:
    try:
        if os.environ.get("BASCULE_PURE", "") not in ("", "0"):
            raise ImportError("BASCULE_PURE is set")
        from bascule.forwarder import _hot
        from bascule.forwarder._hot import Engine, Flow
    except ImportError:
        from bascule.forwarder.hot_pure import Engine, Flow

        _hot = None

__all__ = ["Engine", "Flow", "count_allocations", "describe"]


def describe() -> str:
    """Return the build in use: ``compiled`` or ``pure``."""
    return Engine.name


def count_allocations(words: memoryview, word: int) -> bool:
    """Add every byte that this process asks its allocators for to a counter word.

    Returns:
        Whether they are counted: CPython has no such counter of its own, so without the
        extension the word stays 0.
    """
    if TYPE_CHECKING or _hot is None:
        return False
    _hot.count_allocations(words, word)
    return True
