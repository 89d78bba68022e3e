"""Who is asking: the session cookie of the platform, a signed token (RFC 7519).

A route with ``auth: session`` admits a browser with a valid token in the configured
cookie, whose claims are what the route demands (`bascule.configuration.claims`); an upgrade is checked
exactly like a GET. The check is made once, at the handshake: a 101 cannot renew a cookie later. What follows
when the token expires: `bascule.gateway.sessions.expiry`. If anything goes wrong, the request is refused.

Tokens are never logged and never forwarded.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final

import jwt

from bascule.configuration.claims import first_unmet
from bascule.configuration.namedfile import ALLOWED, read_file
from bascule.errors import ConfigError, NotPermitted, RequestRefused
from bascule.policy.cookies import cookie_value
from bascule.policy.login import Login

if TYPE_CHECKING:
    from bascule.configuration.config import SessionAuth
    from bascule.policy.routes import Match

__all__ = ["SessionTokens"]


_MAX_USER_BYTES: Final = 1024
"""Longest ``sub``, in UTF-8: we send it to the forwarder, which returns it with each outcome and in each list
of sessions. JupyterHub's names have at most 255 characters."""

_FOREVER: Final = 2**53
"""Latest expiry that we tell apart, in seconds since 1970: a token may name any number."""

_REFUSALS: Final = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)
"""PyJWT's own error, and errors that its releases before 2.15 do not catch: from JSON nested too deeply, in
a header before its signature is checked, and from times that are infinite or not a number."""


class SessionTokens:
    """Checks the cookie.

    Args:
        config: Which cookie, which key, which claims.
        needed: Whether any route asks for the cookie.

    Raises:
        ConfigError: The key cannot be read, cannot check a signature, or is missing and a route asks for it.
    """

    def __init__(self, config: SessionAuth, needed: bool) -> None:
        self._config = config
        self._key: bytes | None = None
        if config.key_file is not None:
            try:
                self._key = read_file(config.key_file).strip()
            except OSError as error:
                problem = f"auth.session.keyFile: {error.strerror}: {config.key_file}; allowed: {ALLOWED}"
                raise ConfigError([problem]) from error
        if needed and not self._key:
            raise ConfigError(
                ["auth.session.keyFile: needed, since a route has auth: session; found nothing"]
            )
        if self._key:
            _look_at(self._key, config)

    def require(self, cookies: list[bytes], match: Match) -> Login:
        """Return the login of the token in these ``Cookie`` values, which the route lets through.

        Raises:
            RequestRefused: 401, there is no valid token for this route.
            NotPermitted: 403, its claims are not what the route demands.
        """
        claims = self._claims(cookies, match.route.audiences or (self._config.audience,))
        if claims is None:
            challenge = ((b"WWW-Authenticate", self._config.challenge.encode()),)
            raise RequestRefused(401, "Unauthorized access.", challenge)
        user: str = claims["sub"]
        if (claim := first_unmet(match.demands, claims)) is not None:
            raise NotPermitted(
                f'The claim "{claim}" of this login is not one that this address admits.', user
            )
        return Login(user, min(int(claims["exp"]), _FOREVER))

    def check(self, cookies: list[bytes]) -> str | None:
        """Return the user of the token in these ``Cookie`` values; ``None`` without a valid token."""
        claims = self._claims(cookies, (self._config.audience,))
        return None if claims is None else claims["sub"]

    def _claims(self, cookies: list[bytes], audiences: tuple[str, ...]) -> dict[str, Any] | None:
        """Return what the token in these ``Cookie`` values claims; ``None`` without a valid token."""
        token = cookie_value(cookies, self._config.cookie.encode())
        if token is None or self._key is None:
            return None
        try:
            claims: dict[str, Any] = jwt.decode(
                token.strip(b'"'),
                self._key,
                algorithms=list(self._config.algorithms),
                audience=audiences,
                issuer=self._config.issuer,
                leeway=self._config.leeway,
                options={"require": ["exp"]},
            )
        except _REFUSALS:
            return None
        return claims if _names_a_user(claims.get("sub")) else None


def _names_a_user(subject: object) -> bool:
    if not isinstance(subject, str):
        return False
    return 0 < len(subject.encode("utf-8", "surrogatepass")) <= _MAX_USER_BYTES


def _look_at(key: bytes, config: SessionAuth) -> None:
    """Check at the start that the key can check signatures at all.

    Raises:
        ConfigError: With this key every token would be refused.
    """
    # A short key is told by the supervisor, in words of ours (`bascule.configuration.loginkey`).
    warnings.filterwarnings("ignore", category=jwt.InsecureKeyLengthWarning)
    for algorithm in config.algorithms:
        try:
            jwt.get_algorithm_by_name(algorithm).prepare_key(key)
        except jwt.InvalidKeyError as error:
            found = f"an asymmetric key, a certificate or a JWK in {config.key_file}"
            allowed = f"the bytes of the shared key for {algorithm}"
            raise ConfigError([f"auth.session.keyFile: found {found}; allowed: {allowed}"]) from error
