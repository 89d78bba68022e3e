"""TLS other than the public listener's, as it is configured: towards upstreams, and at the admin listener."""

from typing import Annotated

from pydantic import Field

from bascule.policy.model import Block, File

__all__ = ["UpstreamTls"]


class UpstreamTls(Block):
    """TLS towards `https` upstreams: those of `routes`, those that JupyterHub adds, and `hub.errorTarget`.

    Renewed files are picked up within half a minute, and no session ends.
    """

    ca: File | None = None
    """File with the CAs (PEM) by which certificates of upstreams are checked, instead of the system's.

    Every certificate in it is trusted, an intermediate one without its root, too. `null`, the default, takes
    the system's, or those in the file that the environment variable `SSL_CERT_FILE` names.
    """
    certificate: File | None = None
    """File with the certificate chain (PEM) that upstreams are shown if they ask for one. Set `key` too."""
    key: File | None = None
    """File with the private key (PEM). It must not be encrypted: nobody is there to type a passphrase."""
    verify: Annotated[bool, Field(strict=True)] = True
    """Whether certificates of upstreams are checked: their CA, dates, and the host in the upstream's address.

    Without that anybody on the way can read and change everything, so the log tells of `false` at each start.
    """
