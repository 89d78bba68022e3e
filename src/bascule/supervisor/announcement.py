"""What the log says when the first gateway serves: where the proxy can be reached, and what is dangerous."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from bascule.policy.entrance import entrance
from bascule.supervisor import cores
from bascule.supervisor.sockets import address, url

if TYPE_CHECKING:
    from bascule.configuration.loading import Loaded
    from bascule.supervisor.sockets import Listeners

__all__ = ["announce", "warn"]

_log = structlog.get_logger()


def announce(listeners: Listeners, loaded: Loaded, *, forwarders: int, hot_path: str) -> None:
    """Log that the proxy serves.

    Args:
        listeners: Where it listens.
        loaded: The configuration in force.
        forwarders: How many there are.
        hot_path: The build of the hot path that they run.
    """
    config = loaded.config
    public, admin, redirect = listeners.public, listeners.admin, listeners.redirect
    said = {
        "open": url(public, secure=config.tls.certificate is not None, path=entrance(config)),
        "status_page": url(admin, secure=config.admin_tls.certificate is not None),
        "redirect": None if redirect is None else address(redirect),
    }
    _log.info(
        "listening",
        public=address(public),
        admin=address(admin),
        **{name: value for name, value in said.items() if value is not None},
        forwarders=forwarders,
        hot_path=hot_path,
        max_sessions=config.websocket_proxy.max_sessions_per_app,
    )
    warn(loaded)


def warn(loaded: Loaded) -> None:
    """Warn about settings of a configuration that are dangerous, or often a mistake."""
    for problem in loaded.doubts(cores.available()):
        _log.warning("a setting is doubtful", problem=problem)
    if not loaded.config.upstream_tls.verify:
        _log.warning("certificates of upstreams are not checked", key="upstreamTls.verify")
