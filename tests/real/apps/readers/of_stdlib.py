"""Python's http.server with connections that are kept; with a second argument it reads no body of a GET."""

# mypy: ignore-errors
# It runs with another environment's packages, beside the module `report`.

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from report import report

CARELESS = "careless" in sys.argv


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one packet: two would wait for each other

    def answer(self) -> None:
        body = b"" if CARELESS and self.command not in ("POST", "PUT") else self.body()
        said = report(self.command, self.path, body)
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = answer

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
