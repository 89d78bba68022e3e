"""Commands that start nothing, in an environment that says nothing."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from bascule.configuration.loading import Loaded


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith(("BASCULE_", "CONFIGPROXY_")):
            monkeypatch.delenv(name)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Loaded]:
    """Stand in for the supervisor and the demo; collects what they are started with."""
    calls: list[Loaded] = []

    class Module:
        @staticmethod
        def run(loaded: Loaded, tools: object = None, load: object = None, patience: float = 0.0) -> int:
            calls.append(loaded)
            return 7

    monkeypatch.setitem(sys.modules, "bascule.supervisor.main", Module)
    monkeypatch.setitem(sys.modules, "bascule.demo.main", Module)
    return calls
