"""An upstream that speaks TLS with nobody who shows no certificate."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator

from tests.support.certificates import Certificate

__all__ = ["asking_for_certificates"]


@contextlib.contextmanager
def asking_for_certificates(certificate: Certificate) -> Iterator[int]:
    """Run one, and yield its port."""
    context = certificate.server()
    context.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_serve, args=(listening, context), daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)  # wakes the thread
        thread.join()


def _serve(listening: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        with connection, connection.dup() as kept, contextlib.suppress(OSError):
            kept.settimeout(10)
            with contextlib.suppress(ssl.SSLError):
                context.wrap_socket(connection, server_side=True)  # it closes the connection
            # What is still to come, read to its end: a reset would overtake what was said.
            kept.shutdown(socket.SHUT_WR)
            while kept.recv(65536):
                pass
