from dataclasses import replace

import pytest

from bascule.admin.health import readiness
from bascule.configuration.config import Readiness, WebSocketProxy
from tests.admin.fake_view import FakeView, config


def view_of(sessions: int, *, share: float = 1.0) -> FakeView:
    chosen = config(
        readiness=Readiness(max_share=share), websocket_proxy=WebSocketProxy(max_sessions_per_app=10)
    )
    return FakeView(chosen, sessions=sessions)


@pytest.mark.parametrize(
    ("sessions", "share", "ready"),
    [(0, 1.0, True), (9, 1.0, True), (10, 1.0, False), (8, 0.8, False), (7, 0.8, True), (10, 1.1, True)],
)
def test_a_pod_is_ready_below_its_share_of_the_cap(sessions: int, share: float, ready: bool) -> None:
    state = readiness(view_of(sessions, share=share))
    assert state.ready is ready
    assert (state.reason is None) is ready


def test_a_full_pod_says_how_full_it_is() -> None:
    reason = readiness(view_of(10)).reason
    assert reason is not None
    assert "10 of 10" in reason


def test_a_draining_pod_is_not_ready_even_when_it_is_empty() -> None:
    view = view_of(0)
    view.drain()
    state = readiness(view)
    assert not state.ready
    assert state.reason is not None
    assert state.reason.startswith("draining")


def test_a_pod_without_forwarders_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    view = view_of(0)
    rows = [replace(row, pid=0) for row in view.forwarders()]
    monkeypatch.setattr(view, "forwarders", lambda: rows)
    assert readiness(view).reason == "no forwarder is running"


def test_a_pod_whose_forwarders_may_open_nothing_more_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    view = view_of(0)
    monkeypatch.setattr(view, "has_room", lambda: False)
    assert (
        readiness(view).reason
        == "no forwarder takes sessions: they still start, or the open-file limit is too low for the cap"
    )
