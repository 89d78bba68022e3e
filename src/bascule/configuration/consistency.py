"""Rules about keys that must fit each other.

Each rule is one function, and each problem names the one key to change.

Rules of this file: pure; a rule about a single key belongs to its model.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from bascule.configuration.endpoints import Endpoint, SocketFile
from bascule.configuration.hubroute import read_target
from bascule.configuration.route import AuthMode
from bascule.configuration.templates import PathTemplate, UpstreamTemplate
from bascule.vocabulary import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bascule.configuration.keys import Keys

__all__ = ["Inconsistency", "doubts", "inconsistencies"]


class Inconsistency(NamedTuple):
    """A key that does not fit the others; ``found`` is ``None`` where it is missing."""

    path: tuple[str | int, ...]
    found: object
    allowed: str


def inconsistencies(config: Keys) -> list[Inconsistency]:
    """Return every problem that more than one key is part of."""
    return [problem for rule in _RULES for problem in rule(config)]


def doubts(config: Keys, cores: int) -> list[str]:
    """Return a line for each setting that is allowed but nearly always a mistake.

    Args:
        config: The configuration.
        cores: How many this process may use.
    """
    lines = [
        f"routes[{index}].stripPrefix: with kind jupyter nearly always a mistake, for Jupyter's links begin "
        f"with its base URL; leave it out, and start Jupyter with {route.path} as its base_url"
        for index, route in enumerate(config.routes)
        if route.kind is Kind.JUPYTER and route.strip_prefix and route.path != "/"
    ]
    count = min(config.forwarders.count or 0, config.websocket_proxy.grizzly_worker_pool_max_size)
    if count > cores:
        lines.append(
            f"forwarders.count: {count} is more than the {cores} {'core' if cores == 1 else 'cores'} that "
            "this process may use; more gain nothing, and each costs memory; leave it out to have one for "
            "each core"
        )
    return lines


def _different_routes(config: Keys) -> Iterator[Inconsistency]:
    names: dict[str, int] = {}
    shapes: dict[tuple[bytes | None, ...], int] = {}
    for index, route in enumerate(config.routes):
        if (first := names.setdefault(route.name, index)) != index:
            allowed = f"a name of its own; routes[{first}] has the same"
            yield Inconsistency(("routes", index, "name"), route.name, allowed)
        if (first := shapes.setdefault(PathTemplate.parse(route.path).shape, index)) != index:
            allowed = f"a path of its own; that of routes[{first}] matches the same requests"
            yield Inconsistency(("routes", index, "path"), route.path, allowed)


class _Target(NamedTuple):
    """Where requests may be sent.

    Attributes:
        path: The key that says so.
        found: The key's value.
        host: Name or address, without brackets, or the path of a Unix socket.
        port: A number, or the name of which a URL says the value.
        where: For each such name, the pattern of its values.
    """

    path: tuple[str | int, ...]
    found: str
    host: str
    port: int | str
    where: Mapping[str, str]

    def may_be(self, listener: Endpoint | SocketFile) -> bool:
        """Tell whether this may be a listener of ours."""
        if isinstance(listener, SocketFile):
            return self.host == listener.path
        if not listener.port or not self._may_have(listener.port):
            return False
        here = Endpoint(self.host, 0)
        return here.host == listener.host or (
            (here.is_loopback or here.is_unspecified) and (listener.is_loopback or listener.is_unspecified)
        )

    def _may_have(self, port: int) -> bool:
        if isinstance(self.port, int):
            return self.port == port
        return re.compile(self.where[self.port].encode()).fullmatch(str(port).encode()) is not None


def _own_listeners(config: Keys) -> Iterator[Inconsistency]:
    """Refuse a target that is a listener of ours: requests would loop, or reach the admin listener."""
    listeners = (
        ("listen", config.listen),
        ("admin", config.admin),
        ("tls.redirectFrom", config.tls.redirect_from),
    )
    for target in _targets(config):
        for key, listener in listeners:
            if listener is not None and target.may_be(listener):
                allowed = f'any other server; this leads to our own "{key}" ({listener})'
                yield Inconsistency(target.path, target.found, allowed)


def _targets(config: Keys) -> Iterator[_Target]:
    """Yield the targets of all requests; but what a URL names is looked at before we connect."""
    for index, route in enumerate(config.routes):
        upstream = UpstreamTemplate.parse(route.upstream, route.where)
        if "{" not in upstream.host:  # else see gateway/upstreams/fence.py
            host = upstream.host.strip("[]")
            yield _Target(("routes", index, "upstream"), route.upstream, host, upstream.port, route.where)
    for key, url in (("defaultTarget", config.hub.default_target), ("errorTarget", config.hub.error_target)):
        if url is not None:
            address, _ = read_target(url)
            yield _Target(("hub", key), url, address.host, address.port, {})


def _sessions_need_a_key(config: Keys) -> Iterator[Inconsistency]:
    if config.auth.session.key_file is None:
        for route in config.routes:
            if route.auth is AuthMode.SESSION:
                allowed = f'the path of a file, since route "{route.name}" has "auth: session"'
                yield Inconsistency(("auth", "session", "keyFile"), None, allowed)
                return


def _certificates_and_keys(config: Keys) -> Iterator[Inconsistency]:
    blocks = (("tls", config.tls), ("upstreamTls", config.upstream_tls), ("adminTls", config.admin_tls))
    for block, tls in blocks:
        if (tls.certificate is None) != (tls.key is None):
            missing, present = ("certificate", "key") if tls.certificate is None else ("key", "certificate")
            yield Inconsistency((block, missing), None, f"the path of a file, since {present} is set")


def _client_authorities(config: Keys) -> Iterator[Inconsistency]:
    tls, admin = config.tls, config.admin_tls
    for block, key, certificate, found in (
        ("tls", "clientCa", tls.certificate, tls.client_ca),
        ("adminTls", "clientCa", admin.certificate, admin.client_ca),
        ("adminTls", "peerCa", admin.certificate, admin.peer_ca),
    ):
        if found is not None and certificate is None:
            allowed = f"null, since there is no {block}.certificate: nobody speaks TLS there"
            yield Inconsistency((block, key), str(found), allowed)


def _redirects(config: Keys) -> Iterator[Inconsistency]:
    tls = config.tls
    if tls.redirect_from is None:
        if tls.redirect_port is not None:
            allowed = "null, since there is no tls.redirectFrom"
            yield Inconsistency(("tls", "redirectPort"), tls.redirect_port, allowed)
        return
    if tls.certificate is None:
        allowed = "null, since there is no tls.certificate: https would not work"
        yield Inconsistency(("tls", "redirectFrom"), str(tls.redirect_from), allowed)
    if tls.redirect_port is None and isinstance(config.listen, SocketFile):
        allowed = 'the port where browsers find https, since "listen" is a Unix socket'
        yield Inconsistency(("tls", "redirectPort"), None, allowed)


def _one_admin_token(config: Keys) -> Iterator[Inconsistency]:
    if config.admin_token is not None and config.admin_token_file is not None:
        allowed = "null, since adminToken is set; use one of the two"
        yield Inconsistency(("adminTokenFile",), str(config.admin_token_file), allowed)


def _hub(config: Keys) -> Iterator[Inconsistency]:
    if config.hub.enabled and config.admin_token is None and config.admin_token_file is None:
        allowed = "the path of a file, since hub.enabled is true: adding routes needs a token"
        yield Inconsistency(("adminTokenFile",), None, allowed)
    if config.hub.share_routes and not config.capacity.peers and config.capacity.headless_service is None:
        allowed = "a name, or capacity.peers a list, since hub.shareRoutes is true: those are the replicas"
        yield Inconsistency(("capacity", "headlessService"), None, allowed)
    if not config.hub.enabled:
        for name, field in type(config.hub).model_fields.items():
            # Values are compared, not which keys were written: a printed configuration has every key.
            if (found := getattr(config.hub, name)) != field.default:
                allowed = f"{json.dumps(field.default)}, for hub.enabled is false (bascule chp sets it)"
                yield Inconsistency(("hub", str(field.alias)), found, allowed)


def _different_listeners(config: Keys) -> Iterator[Inconsistency]:
    before: list[tuple[str, Endpoint | SocketFile]] = [("listen", config.listen)]
    for path, endpoint in ((("admin",), config.admin), (("tls", "redirectFrom"), config.tls.redirect_from)):
        if endpoint is None:
            continue
        for name, other in before:
            if isinstance(endpoint, SocketFile) or isinstance(other, SocketFile):
                if endpoint == other:
                    yield Inconsistency(path, str(endpoint), f'another Unix socket than "{name}"')
                continue
            overlap = endpoint.host == other.host or endpoint.is_unspecified or other.is_unspecified
            if endpoint.port and endpoint.port == other.port and overlap:
                yield Inconsistency(path, str(endpoint), f'another port than "{name}" ({other})')
        before.append((".".join(path), endpoint))


def _found_instances(config: Keys) -> Iterator[Inconsistency]:
    if config.capacity.headless_service is not None and isinstance(config.admin, SocketFile):
        allowed = f'null, since "admin" is a Unix socket ({config.admin}): the others are asked at its port'
        yield Inconsistency(("capacity", "headlessService"), config.capacity.headless_service, allowed)


def _natural_end(config: Keys) -> Iterator[Inconsistency]:
    if config.drain.natural_end > config.drain.timeout:
        allowed = f"at most drain.timeout ({config.drain.timeout:g} s)"
        yield Inconsistency(("drain", "naturalEnd"), config.drain.natural_end, allowed)


def _answered_heartbeats(config: Keys) -> Iterator[Inconsistency]:
    if config.limits.pong_timeout and not config.websocket_proxy.heartbeat_interval_ms:
        allowed = "0, since websocketProxy.heartbeatIntervalMs is 0: there is nothing to answer"
        yield Inconsistency(("limits", "pongTimeout"), config.limits.pong_timeout, allowed)


_RULES: Final = (
    _different_routes, _own_listeners, _sessions_need_a_key, _certificates_and_keys, _client_authorities,
    _redirects, _one_admin_token, _hub, _different_listeners, _found_instances, _natural_end,
    _answered_heartbeats,
)  # fmt: skip
