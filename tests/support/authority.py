"""A certificate authority of a test's own, made by the ``openssl`` command."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.support.certificates import Certificate
from tests.support.parts import require

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Authority", "make_authority"]

_NEW_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_SETTINGS: Final = """\
[ca]
default_ca = ours
[ours]
database = {home}/issued
new_certs_dir = {home}
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
[any]
commonName = supplied
[extensions]
subjectAltName = {names}
authorityKeyIdentifier = keyid
"""
_NOW: Final = ("-days", "2")
_LONG_AGO: Final = ("-startdate", "20200101000000Z", "-enddate", "20200102000000Z")


@dataclass(frozen=True)
class Authority:
    """The authority.

    Attributes:
        home: Its directory.
    """

    home: Path

    @property
    def ca(self) -> Path:
        """The file with its own certificate."""
        return self.home / "ca.pem"

    def issue(
        self, name: str, *, names: str = "DNS:localhost,IP:127.0.0.1", expired: bool = False
    ) -> Certificate:
        """Make a certificate.

        Args:
            name: Of its files, and in it; one that was there before is replaced.
            names: For whom it is.
            expired: Whether its time is over.
        """
        made = Certificate(self.home / f"{name}.pem", self.home / f"{name}.key.pem")
        settings, request = self.home / "settings", self.home / f"{name}.request"
        settings.write_text(_SETTINGS.format(home=self.home, names=names))
        (self.home / "issued").touch()
        _openssl("req", *_NEW_KEY, "-subj", f"/CN={name}", "-keyout", made.key, "-out", request)
        _openssl(
            "ca", "-batch", "-notext", "-config", settings, "-extensions", "extensions",
            "-cert", self.ca, "-keyfile", self.home / "ca.key.pem", *(_LONG_AGO if expired else _NOW),
            "-in", request, "-out", made.certificate,
        )  # fmt: skip
        return made

    def server(self, shown: Certificate) -> ssl.SSLContext:
        """Return the context of a server that speaks with nobody but those who show a certificate of ours."""
        context = shown.server()
        context.load_verify_locations(self.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client(self, shown: Certificate | None = None) -> ssl.SSLContext:
        """Return the context of a client that trusts this authority, and may show a certificate."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if shown is not None:
            context.load_cert_chain(shown.certificate, shown.key)
        return context


def make_authority(home: Path) -> Authority:
    """Make one in a new directory."""
    home.mkdir()
    made = Authority(home)
    _openssl(
        "req", "-x509", *_NEW_KEY, "-days", "2", "-subj", f"/CN={home.name}",
        "-addext", "keyUsage=critical,keyCertSign,cRLSign",  # which Python asks for from 3.13 on
        "-keyout", home / "ca.key.pem", "-out", made.ca,
    )  # fmt: skip
    return made


def _openssl(*arguments: str | Path) -> None:
    subprocess.run([require("openssl"), *arguments], check=True, capture_output=True)
