"""How the login cookie is configured."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from bascule.configuration.badvalue import not_allowed
from bascule.configuration.durations import Duration
from bascule.configuration.model import Block, File

__all__ = ["Algorithm", "Auth", "SessionAuth"]

Algorithm = Literal["HS256", "HS384", "HS512"]


def _some(algorithms: tuple[str, ...]) -> tuple[str, ...]:
    if not algorithms:
        raise not_allowed("at least one algorithm")
    return algorithms


class SessionAuth(Block):
    """The login cookie checked on routes with `auth: session`: a signed JWT.

    It must have an expiry (`exp`) and name the user (`sub`, at most 1024 bytes). It is checked when a request
    or a session begins: an open session outlives a logout, and its token unless `closeAtExpiry` is set.
    """

    cookie: Annotated[
        str,
        Field(
            pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
            json_schema_extra={"x-allowed": "a cookie name: letters, digits and !#$%&'*+.^_`|~-"},
        ),
    ] = "proxy_session"
    """Name of the cookie. The default is what Hopsworks sets at login.

    With a `keyFile` it is removed before forwarding, on every route: an application behind a route without a
    login must not learn what opens the others.
    """
    key_file: File | None = None
    """File with the key that signatures are checked with; leading and trailing white space is ignored.

    Required as soon as a route sets `auth: session`.
    """
    algorithms: Annotated[
        tuple[Algorithm, ...], AfterValidator(_some), Field(json_schema_extra={"minItems": 1})
    ] = ("HS512",)
    """Signature algorithms accepted: those with a key that both sides share (HMAC).

    HS512, the default, is what Hopsworks signs with; `none` can never be accepted.
    """
    audience: str = "PROXY"
    """The audience (`aud`) a token must name, so that a token for another purpose opens nothing."""
    issuer: str | None = None
    """The issuer (`iss`) a token must name. `null`, the default, accepts any issuer that has the key."""
    leeway: Duration = 900.0
    """How long after its expiry a token is still good. It also forgives clocks that differ (`nbf`, `iat`).

    900 s is Hopsworks's own value: within it, a request to Hopsworks itself is answered with a new cookie.
    Bascule renews none. In a tab where nothing else does, open sessions go on, but once `leeway` is over each
    new request and session is answered with 401 until the user logs in again, or opens a page that renews the
    cookie.
    """

    close_at_expiry: Annotated[bool, Field(strict=True)] = False
    """Whether a session is closed, with 1008, when its token has expired and `leeway` is over.

    The browser reconnects: if its cookie has been renewed meanwhile, it goes on at once, otherwise it is
    answered with 401. A terminal or a kernel is not lost by that, but output that arrives in between may be.
    Off, as at Hopsworks: whoever has a notebook open for longer than a token lasts would notice each time. A
    logout ends no session, with or without this: the platform can close them by the admin API.
    """

    @property
    def withheld(self) -> bytes | None:
        """Name of the cookie that no upstream may see; ``None`` without a key, when it is not ours."""
        return None if self.key_file is None else self.cookie.encode()

    @property
    def challenge(self) -> str:
        """The ``WWW-Authenticate`` of a 401, which must have one (RFC 9110 §15.5.2).

        The scheme is that of draft-broyer-http-cookie-auth: no browser knows it, so none asks for a password.
        """
        return f'Cookie realm="bascule", cookie-name={self.cookie}'


class Auth(Block):
    """Who may open a session."""

    session: SessionAuth = SessionAuth()
    """The login cookie."""
