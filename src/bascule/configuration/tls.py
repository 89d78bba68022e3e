"""TLS as it is configured: of the public listener, towards upstreams, and of the admin listener."""

from typing import Annotated

from pydantic import Field

from bascule.configuration.endpoints import Endpoint
from bascule.configuration.model import Block, File

__all__ = ["AdminTls", "Tls", "UpstreamTls"]


class Tls(Block):
    """TLS of the public listener. Without a certificate it speaks plain HTTP, as behind an ingress.

    A renewed certificate is picked up within half a minute, and no session ends. It takes a new gateway, and
    while seven former ones still carry sessions over TLS, it waits until one of them has left: it is tried
    every five minutes, and `BasculeReloadFailed` fires.
    """

    certificate: File | None = None
    """File with the certificate chain (PEM). Set `key` too."""
    key: File | None = None
    """File with the private key (PEM). It must not be encrypted: nobody is there to type a passphrase."""
    client_ca: File | None = None
    """File with the CAs (PEM) of browsers: each has to show a certificate of one of them.

    `null`, the default, asks for none. Upstreams are not told whose certificate it is. Health checks at
    `listen` need one, too.
    """
    redirect_from: Endpoint | None = None
    """Address at which plain HTTP is redirected to https, such as `:80`. `null`, the default: none.

    GET and HEAD are redirected with 301, everything else with 308, which keeps the method. Browsers remember
    it for an hour.
    """
    redirect_port: Annotated[int, Field(strict=True, ge=1, le=65535)] | None = None
    """Port named in the redirect. `null`, the default, is that of `listen`.

    Set 443 where browsers reach `listen` through another port, such as a Service's.
    """


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


class AdminTls(Block):
    """TLS of the admin listener. Without a certificate it speaks plain HTTP.

    Renewed files are picked up within half a minute.
    """

    certificate: File | None = None
    """File with the certificate chain (PEM). Set `key` too.

    Whoever asks at `admin` then has to do so over TLS: Prometheus (`scheme: https`), JupyterHub, probes. The
    other instances need a certificate as well: they are asked over TLS, and shown this one if they want to
    see one.
    """
    key: File | None = None
    """File with the private key (PEM). It must not be encrypted: nobody is there to type a passphrase."""
    client_ca: File | None = None
    """File with the CAs (PEM) of callers: each has to show a certificate of one of them.

    Tokens are asked for as without it. `null`, the default, asks for no certificate.

    A kubelet has none to show. Let its probes ask `listen` for `/.bascule/badge.js`, or with `hub.enabled`
    for `/_chp_healthz`: that says that the gateway answers, not that the pod is ready. With `tls.clientCa`
    too only a TCP probe works.
    """
    peer_ca: File | None = None
    """File with the CAs (PEM) by which other instances' certificates are checked, instead of the system's.

    Those of `capacity.peers` have to be for the host that is listed there, and all of those behind
    `capacity.headlessService` for its name.
    """
