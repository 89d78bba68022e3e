"""How routes are taken from JupyterHub, as it is configured."""

from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from bascule.configuration.badvalue import not_allowed
from bascule.configuration.endpoints import Origin
from bascule.configuration.hubroute import read_target
from bascule.configuration.model import Block
from bascule.configuration.schemapatterns import TARGET
from bascule.configuration.socketpath import SOCKET_ALLOWED

__all__ = ["Hub", "HubTarget"]


def _target(text: str) -> str:
    try:
        read_target(text)
    except ValueError:
        allowed = f'"http://host:port", "https://host:port" or {SOCKET_ALLOWED}, and a path may follow'
        raise not_allowed(allowed) from None
    return text


HubTarget = Annotated[
    str,
    AfterValidator(_target),
    WithJsonSchema(
        {
            "x-allowed": f'"http://host:port/path", "https://host:port/path" or {SOCKET_ALLOWED}',
            "type": "string",
            "pattern": TARGET,
        }
    ),
]


class Hub(Block):
    """Routes that JupyterHub adds and removes: the REST API of configurable-http-proxy.

    `bascule chp` sets this block from the arguments that JupyterHub gives its proxy.
    """

    enabled: Annotated[bool, Field(strict=True)] = False
    """Whether `/api/routes` on the admin listener accepts routes. Set `adminTokenFile` too.

    Off, because whoever may add a route decides where requests go. The token may be sent as JupyterHub
    does, `Authorization: token …`. Routes outlive the gateway and reloads, and are lost when the proxy stops,
    unless they are shared (`shareRoutes`); JupyterHub then adds them again.
    """
    default_target: HubTarget | None = None
    """Where requests that match no route go. `null`, the default: nowhere, until JupyterHub adds `/`."""
    error_target: HubTarget | None = None
    """Server that supplies error pages: a browser that gets 404 or 503 sees `<errorTarget>/404?url=…`.

    For JupyterHub its own `/hub/error`, which offers to start a server that has stopped. `null`, the default:
    our own pages.
    """
    share_routes: Annotated[bool, Field(strict=True)] = False
    """Whether routes are shared with the other instances (`capacity.peers`, `capacity.headlessService`).

    When on, JupyterHub may tell any instance, which tells the others before it answers; a new one asks for
    all routes before it is ready, and each compares with the others every 5 to 15 s. Of two changes of a
    route the later counts. All instances need the same admin token. Off, the default, because a single proxy
    has nobody to share with.
    """
    host_routing: Annotated[bool, Field(strict=True)] = False
    """Whether the first segment of a route's path is a host: JupyterHub with a subdomain for each user."""
    include_prefix: Annotated[bool, Field(strict=True)] = True
    """Whether a route's own path stays in front of what is forwarded.

    On, because Jupyter servers know their own prefix. When off, it is sent as `X-Forwarded-Prefix`,
    and a page asked for by the prefix without its slash is redirected to the one with it. Unlike with
    `stripPrefix`, `Location` passes unchanged, as through configurable-http-proxy.
    """
    prepend_path: Annotated[bool, Field(strict=True)] = True
    """Whether the path of a route's target is put in front of what is forwarded."""
    allowed_origins: tuple[Origin, ...] = ()
    """Origins whose pages may open WebSockets on these routes, as browsers send them; `*` allows all.

    Empty, the default: only the origin the request was sent to. Behind an ingress that ends TLS set
    `trustedProxies`; otherwise Bascule cannot know that the page uses https, and refuses its WebSockets.
    """
    max_routes: Annotated[int, Field(strict=True, ge=1, le=1000000)] = 20000
    """Most routes at once; one more is refused with 400. A route takes about 2 KiB of the gateway's memory.
    When a reload lowers this, existing routes stay.

    20,000: more servers than any hub we know of runs at once.
    """
