"""The configuration: all keys (`bascule.configuration.keys`), which fit each other.

Rules of this file: a configuration that exists has been checked. Its blocks can be had from here as well,
wherever they are defined.
"""

from typing import Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from bascule.configuration.auth import Auth, SessionAuth
from bascule.configuration.capacity import Capacity
from bascule.configuration.consistency import inconsistencies
from bascule.configuration.endpoints import Endpoint
from bascule.configuration.hub import Hub
from bascule.configuration.keys import (
    Drain,
    Forwarders,
    Keys,
    Log,
    Metrics,
    Readiness,
    WebSocketProxy,
)
from bascule.configuration.limits import Limits
from bascule.configuration.route import AuthMode, RouteConfig
from bascule.configuration.sockets import Sockets
from bascule.configuration.tls import AdminTls, Tls, UpstreamTls

__all__ = [
    "AdminTls",
    "Auth",
    "AuthMode",
    "Capacity",
    "Config",
    "Drain",
    "Endpoint",
    "Forwarders",
    "Hub",
    "Limits",
    "Log",
    "Metrics",
    "Readiness",
    "RouteConfig",
    "SessionAuth",
    "Sockets",
    "Tls",
    "UpstreamTls",
    "WebSocketProxy",
]


class Config(Keys):
    """Everything that can be set."""

    @property
    def asks_for_sessions(self) -> bool:
        """Whether any route asks for the login cookie."""
        return any(route.auth is not AuthMode.NONE for route in self.routes)

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if problems := inconsistencies(self):
            raise PydanticCustomError("inconsistent", "inconsistent", {"problems": problems})
        return self
