"""How long browsers take to answer a ping: the network, the ingress, and what waits in front of the ping."""

from __future__ import annotations

from typing import Final

from bascule.telemetry.histogram import Histogram

__all__ = ["ROUND_TRIPS"]

ROUND_TRIPS: Final = Histogram(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Below a millisecond browser and pod are on one machine; a tenth of a second is felt by whoever types; above
ten seconds the ping waited for something else."""
