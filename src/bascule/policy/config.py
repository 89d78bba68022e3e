"""The configuration: all keys (`bascule.policy.keys`), which fit each other.

Rules of this file: a configuration that exists has been checked. Its blocks can be had from here as well,
wherever they are defined.
"""

from typing import Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from bascule.policy.authconfig import Auth, SessionAuth
from bascule.policy.capacityconfig import Capacity
from bascule.policy.consistency import inconsistencies
from bascule.policy.endpoints import Endpoint
from bascule.policy.hubconfig import Hub
from bascule.policy.keys import (
    Drain,
    Forwarders,
    Keys,
    Log,
    Metrics,
    Readiness,
    WebSocketProxy,
)
from bascule.policy.limitsconfig import Limits
from bascule.policy.routeconfig import AuthMode, RouteConfig
from bascule.policy.socketsconfig import Sockets
from bascule.policy.tlsconfig import AdminTls, Tls, UpstreamTls

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
