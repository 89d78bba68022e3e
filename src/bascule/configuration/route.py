"""One route as it is configured."""

from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from bascule.configuration.badvalue import not_allowed
from bascule.configuration.claims import ClaimTemplate
from bascule.configuration.endpoints import Origin
from bascule.configuration.model import Block
from bascule.configuration.schemapatterns import ASCII, PATH, UPSTREAM
from bascule.configuration.socketpath import SOCKET_ALLOWED
from bascule.configuration.templates import PathTemplate, UpstreamTemplate, check_pattern
from bascule.vocabulary import Kind

__all__ = [
    "AuthMode",
    "ClaimName",
    "ClaimValues",
    "Pattern",
    "RejectMode",
    "RouteConfig",
    "RouteName",
    "RoutePath",
    "Upstream",
]

RejectMode = Literal["close", "http503"]
"""How an upgrade is refused: by a Close behind 101, or by 503."""

_VALUES_ALLOWED: Final = "a text, or a list of them, of which one is needed; numbers and booleans in quotes"
_VALUES_SCHEMA: Final = {
    "x-allowed": _VALUES_ALLOWED,
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
    ],
}
_UPSTREAM_SCHEMA: Final = {
    "x-allowed": f'"http://host:port", "https://host:port" or {SOCKET_ALLOWED}',
    "type": "string",
    "pattern": UPSTREAM,
}
_PATH_SCHEMA: Final = {"x-allowed": 'a path that starts with "/"', "type": "string", "pattern": PATH}


class AuthMode(StrEnum):
    """What a request needs before a route lets it through."""

    NONE = "none"
    SESSION = "session"


def _path(text: str) -> str:
    try:
        PathTemplate.parse(text)
    except ValueError as error:
        raise not_allowed(str(error)) from None
    return text


def _pattern(text: str) -> str:
    try:
        check_pattern(text)
    except ValueError as error:
        raise not_allowed(str(error)) from None
    return text


def _texts(value: object) -> object:
    texts = (value,) if isinstance(value, str) else value
    if isinstance(texts, (list, tuple)) and texts and all(isinstance(text, str) and text for text in texts):
        return texts
    raise not_allowed(_VALUES_ALLOWED)


RoutePath = Annotated[str, AfterValidator(_path), WithJsonSchema(_PATH_SCHEMA)]
Pattern = Annotated[
    str,
    AfterValidator(_pattern),
    WithJsonSchema({"x-allowed": "a regular expression in ASCII", "type": "string", "pattern": ASCII}),
]
Upstream = Annotated[str, WithJsonSchema(_UPSTREAM_SCHEMA)]
ClaimName = Annotated[str, Field(min_length=1)]
ClaimValues = Annotated[tuple[str, ...], BeforeValidator(_texts), WithJsonSchema(_VALUES_SCHEMA)]
RouteName = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9-]{1,63}$",
        json_schema_extra={"x-allowed": "1 to 63 lower-case letters, digits and hyphens"},
    ),
]


class RouteConfig(Block):
    """One path and the upstream behind it."""

    name: RouteName
    """Name in logs, metrics and the session list; unique.

    It is a metric label: keep it when the path or the upstream changes, so that graphs continue.
    """
    kind: Kind = Kind.APP
    """What it leads to: `jupyter`, `terminal` or `app`. A label only: all kinds share one cap;
    `maxSessions` bounds a route's share of it.

    `app`, because an unknown upstream is most likely one.
    """
    path: RoutePath
    """Path prefix, by whole segments: `/lab/` matches `/lab`, `/lab/` and everything below, never `/labs`.

    A `{name}` stands for one segment and needs a pattern in `where`. A trailing slash changes nothing. The
    longest path that matches wins, and at the same length a literal segment wins over a `{name}`.
    """
    upstream: Upstream
    """Where it leads: `http://host:port` or `https://host:port`, without a path.

    Names captured by `path` may be used in the host, within a label, and as the port if their pattern matches
    only digits. A host taken from a URL is never an IP address and never `localhost`, and it is connected to
    at no address that leads into this host: none of the loopback, unspecified, link-local (a cloud's metadata
    service) or multicast ones, and none of this host's own where Bascule listens. Such a request is answered
    as if the upstream were down. Programs on this host need a route that names the host; the port may still
    come from the URL. `upstreamTls` says how certificates of `https` upstreams are checked.

    `http+unix://%2Frun%2Fapp.sock` is the Unix socket `/run/app.sock`, as Jupyter servers print it: the path,
    each slash escaped. No captured name may be part of it. Bascule's user needs write permission for the
    socket, and the right to enter the directories above it.
    """
    strip_prefix: Annotated[bool, Field(strict=True)] = False
    """Strip the matched prefix before forwarding, and send it as `X-Forwarded-Prefix`.

    Off, because Jupyter knows its own base URL. Streamlit and most apps need it on. A page asked for by the
    prefix without its slash is redirected to the one with it, or its relative links would lead outside.

    A `Location` of the upstream that is a path (`/login`), or a URL of its own address, gets the prefix in
    front, unless it has it. So an app that means to lead out of its prefix must redirect to a whole URL.
    Links in pages, and the `Path` of cookies, pass unchanged.
    """
    where: dict[str, Pattern] = Field(default_factory=dict)
    """For each `{name}`, the regular expression that must match its whole segment.

    It decides what a URL can reach, so make it as narrow as the names really are. It is applied to a segment
    with needless escapes undone (`%7E` is `~`, `%40` is `@`) and the others in upper case (`%C3%A9`).
    """
    allowed_origins: tuple[Origin, ...] = ()
    """Origins whose pages may open WebSockets here, as browsers send them; `*` allows all.

    Empty, the default: only the origin the request was sent to (the `Host` field).
    """
    auth: AuthMode = AuthMode.NONE
    """`session` requires the login cookie; set `auth.session.keyFile` too.

    `none`, the default, leaves it to the upstream or the ingress: Jupyter has a token of its own. With
    `session` alone every user passes; `requiredClaims` says whose route it is.
    """
    required_claims: dict[ClaimName, ClaimValues] = Field(default_factory=dict)
    """What the login's token must claim, or the answer is 403. With a `{user}` in `path`: `{sub: "{user}"}`.

    For each claim a text, or a list of texts of which it must have one: `{roles: [admin, staff]}`. All claims
    must be met; empty, the default, demands nothing. A `{name}` stands for the segment that `path` captured,
    with its escapes undone. If the claim is a list, one of its members must be equal.

    The comparison is exact: `Ada` is not `ada`, and Unicode is not normalised. Whole numbers and booleans are
    compared as JSON writes them (`"8888"`, `"true"`); other values are never equal. Host names have no case,
    so a `{name}` that is also part of the upstream's host must be in lower case.
    """
    audiences: tuple[Annotated[str, Field(strict=True, min_length=1)], ...] = ()
    """Audiences of which a token must name one on this route. Empty, the default: `auth.session.audience`.

    For tokens that open this route and no other: a route without the audience refuses them with 401. List
    `auth.session.audience` too if the usual login is to open it as well.
    """
    incoming_buffer_bytes: Annotated[int, Field(strict=True, ge=1, le=2147483647)] | None = None
    """Largest frame on this route, in bytes. `null`, the default, is `websocketProxy.incomingBufferBytes`.

    For Streamlit set 209715200, its own maximum.
    """
    max_sessions: Annotated[int, Field(strict=True, ge=0, le=1000000)] | None = None
    """Most WebSocket sessions on this route at once on one pod; `null`, the default, leaves it the whole cap.

    It bounds what one upstream takes of `maxSessionsPerApp`, so that an app with many viewers leaves room for
    notebooks. One upgrade more is answered with 101 and Close 1013, and does not count as a rejection by the
    cap: the pod has room. 0 admits none.
    """

    reject_mode: RejectMode | None = None
    """How an upgrade is refused here; `null`, the default, is `limits.rejectMode`.

    Set `http503` for clients that take a WebSocket that opens for an app that is up: Socket.IO (NiceGUI,
    Chainlit, Flask-SocketIO), which then goes on by polling at once instead of after 20 s, and Vite, which
    reloads its page. JupyterLab and Streamlit need `close`.
    """

    @model_validator(mode="after")
    def _fit(self) -> Self:
        """Check that path, patterns and upstream speak of the same names."""
        names = PathTemplate.parse(self.path).names
        for name in names:
            if name not in self.where:
                _refuse(f"where.{name}", None, f'a regular expression, since the path captures "{name}"')
        for name in self.where:
            if name not in names:
                _refuse(f"where.{name}", self.where[name], "patterns for names that the path captures")
        for claim, values in self.required_claims.items():
            try:
                ClaimTemplate.parse(claim, values, names)
            except ValueError as error:
                found = values[0] if len(values) == 1 else values
                _refuse(f"requiredClaims.{claim}", found, str(error))
        if self.auth is AuthMode.NONE:
            for key, given in (("requiredClaims", self.required_claims), ("audiences", self.audiences)):
                if given:
                    _refuse(
                        key, given, 'nothing, unless the route has "auth: session": no token is looked at'
                    )
        try:
            UpstreamTemplate.parse(self.upstream, self.where)
        except ValueError as error:
            _refuse("upstream", self.upstream, str(error))
        return self


def _refuse(key: str, found: object, allowed: str) -> None:
    raise not_allowed(allowed, key=key, found=found)
