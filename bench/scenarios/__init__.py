"""The scenarios, in the order they are run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.scenarios.cap import AtTheCap
from bench.scenarios.growth import Growth
from bench.scenarios.handshakes import Handshakes, Storm
from bench.scenarios.idle import Idle
from bench.scenarios.latency import HalfLoad, Terminal
from bench.scenarios.messages import Messages
from bench.scenarios.mix import NotebookMix
from bench.scenarios.plain import PlainHTTP

if TYPE_CHECKING:
    from bench.scenarios.base import Scenario

SCENARIOS: tuple[Scenario, ...] = (
    Messages(),
    NotebookMix(),
    HalfLoad(),
    Terminal(),
    Handshakes(),
    Storm(),
    PlainHTTP(),
    AtTheCap(),
    Idle(),
    Growth(),
)
