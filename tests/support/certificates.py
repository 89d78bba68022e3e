"""A self-signed certificate for this host, made by the ``openssl`` command."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.parts import require

__all__ = ["Certificate", "make_certificate"]


@dataclass(frozen=True)
class Certificate:
    """Files of a certificate for ``localhost`` and 127.0.0.1, which is its own authority."""

    certificate: Path
    key: Path

    def block(self) -> dict[str, str]:
        """Return the configuration's block ``tls``."""
        return {"certificate": str(self.certificate), "key": str(self.key)}

    def server(self) -> ssl.SSLContext:
        """Return a server's context."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def client(self) -> ssl.SSLContext:
        """Return the context of a client that trusts it, and nothing else."""
        return ssl.create_default_context(cafile=str(self.certificate))


def make_certificate(home: Path) -> Certificate:
    """Make one in a directory."""
    made = Certificate(home / "certificate.pem", home / "key.pem")
    command: list[str | Path] = [
        require("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-keyout", made.key, "-out", made.certificate,
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return made
