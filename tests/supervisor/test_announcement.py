"""What the log says of a configuration that comes into force."""

from __future__ import annotations

import structlog

from bascule.configuration.config import Config
from bascule.configuration.loading import Loaded
from bascule.supervisor.announcement import warn


def test_what_is_dangerous_or_often_a_mistake_is_a_warning() -> None:
    config = Config.model_validate({"upstreamTls": {"verify": False}})
    with structlog.testing.capture_logs() as lines:
        warn(Loaded(config, {}, replaced=("bascule.yaml:7",)))
    assert lines == [
        {
            "event": "a setting is doubtful",
            "log_level": "warning",
            "problem": "--upstream: replaces the routes of bascule.yaml:7",
        },
        {
            "event": "certificates of upstreams are not checked",
            "log_level": "warning",
            "key": "upstreamTls.verify",
        },
    ]


def test_of_a_usual_configuration_nothing_is_said() -> None:
    with structlog.testing.capture_logs() as lines:
        warn(Loaded(Config(), {}))
    assert not lines
