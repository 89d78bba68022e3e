"""What moved in ``/metrics`` between two moments: every series of ours that counts events or sessions."""

import re
from typing import Final

from tests.support.bascule import RunningBascule
from tests.support.series import read_series
from tests.support.waiting import eventually

__all__ = ["Figures"]

_NOISE: Final = re.compile(
    r"bascule_((forwarder|gateway)_(cpu|wait|resident)|gc_|memory_|open_desc|max_desc|heartbeats|build)"
    r"|ws_pool_(cpu|alloc)|ws_connection_in_flight_max_age|_bucket|_sum|_max|_mean|quantile="
)
"""What moves by itself, or says in another form what a counter says."""

_SCOPE: Final = 'mp_scope="application"'


def _series(text: str) -> dict[str, float]:
    return {
        series.replace(_SCOPE + ",", "").replace("{" + _SCOPE + "}", ""): value
        for series, value in read_series(text).items()
        if not _NOISE.search(series)
    }


class Figures:
    """The figures of one proxy from now on."""

    def __init__(self, bascule: RunningBascule) -> None:
        self._bascule = bascule
        self._before = _series(bascule.metrics())

    def moved(self) -> dict[str, float]:
        """Return by how much each series has moved; those that have not are left out."""
        after = _series(self._bascule.metrics())
        changes = {name: value - self._before.get(name, 0.0) for name, value in after.items()}
        return {name: change for name, change in changes.items() if change}

    def settle(self, expected: dict[str, float], seconds: float = 10.0) -> None:
        """Wait until exactly this has moved."""
        last: dict[str, float] = {}

        def look() -> bool:
            nonlocal last
            last = self.moved()
            return last == expected

        try:
            eventually(look, seconds, "figures")
        except TimeoutError:
            raise AssertionError(f"moved: {last}, expected: {expected}") from None
