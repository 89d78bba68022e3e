"""What a session with TLS may cost: measured in a running gateway, and reckoned with by the chart."""

from __future__ import annotations

from typing import Final

__all__ = ["MOST"]

MOST: Final = {
    ("idle", "browsers"): 32 << 10,
    ("idle", "upstream"): 32 << 10,
    ("slow browser", "browsers"): 128 << 10,
    ("slow browser", "upstream"): 128 << 10,
    ("slow upstream", "browsers"): 128 << 10,
    ("slow upstream", "upstream"): 128 << 10,
}
"""Bytes of the gateway for each session: what it does, or who reads nothing; by who uses TLS.

Measured were 17 and 22 KiB, and up to 90.
"""
