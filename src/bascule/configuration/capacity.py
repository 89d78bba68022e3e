"""How capacity badges are configured, and which other pods they speak of."""

from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from bascule.configuration.amounts import Share
from bascule.configuration.badvalue import not_allowed
from bascule.configuration.durations import Duration, PositiveDuration
from bascule.configuration.endpoints import Endpoint
from bascule.configuration.model import Block
from bascule.configuration.schemapatterns import PEER

__all__ = ["Capacity"]


def _has_port(peer: Endpoint) -> Endpoint:
    if not peer.port:
        raise not_allowed("the port of its admin listener, from 1 to 65535")
    return peer


_Peer = Annotated[
    Endpoint,
    AfterValidator(_has_port),
    WithJsonSchema(
        {"x-allowed": '"host:port" or "[::1]:port", port 1 to 65535', "type": "string", "pattern": PEER}
    ),
]
_DnsName = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?$",
        max_length=253,
        json_schema_extra={"x-allowed": "a DNS name"},
    ),
]


class Capacity(Block):
    """What the capacity badges show, and where the cluster's figures come from."""

    warning_share: Share = 0.8
    """Share of the cap at which a badge turns orange.

    Hopsworks's own number is not public; 0.8 is our choice.
    """
    peers: tuple[_Peer, ...] = ()
    """Admin listeners of the other pods (`host:port`), when they are few and fixed.

    Empty: see `headlessService`.
    """
    headless_service: _DnsName | None = None
    """DNS name that resolves to all pods of this proxy; each is asked at the port of `admin`.

    `null`, the default, means that instance and cluster are the same.
    """
    peer_timeout: PositiveDuration = 1.0
    """Time a peer has to answer; after that the figures are marked partial. 1 s: a badge must not hang."""
    cache_for: Duration = 5.0
    """How long an answer is kept, so that a thousand browsers do not ask every peer a thousand times."""
    name: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """This pod's name in answers and labels. `null`, the default, takes the environment's `HOSTNAME`."""
