"""What TLS costs a proxy: ``python -m bench.tls``, with nginx beside it.

Sessions whose browser, upstream, or both speak TLS. Load generator and upstream do not: an nginx on the other
processors, whose time does not count, does it for them. ``--against CHECKOUT`` measures another Bascule in
turn.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bench import accounting
from bench.congestion import steady
from bench.generators import Echo, Load
from bench.peers import nginx
from bench.peers.bascule import Bascule
from bench.peers.base import Peer, Running, Setting, free_ports
from bench.places import ROOT, WORK
from bench.processors import ahead, other_processors, pin

if TYPE_CHECKING:
    from bench.peers.base import Launch

ROUNDS = 8
SECONDS = 0.5
#: Message size, sessions, messages in flight.
SHAPES = {
    "64 B": (64, 20, 1),
    "64 B x 8": (64, 20, 8),
    "16 KiB": (16 << 10, 20, 1),
    "256 KiB": (256 << 10, 4, 1),
    "4 MiB": (4 << 20, 1, 1),
}
SIDES = ("browser", "upstream", "both")

#: What speaks TLS for the load generator and for the upstream.
BESIDE = """\
worker_processes 1; daemon off; pid beside.pid; error_log beside.log warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  proxy_http_version 1.1; proxy_buffering off; proxy_read_timeout 3600s;
  {more}
  map $http_upgrade $upgraded {{ default upgrade; '' ''; }}
  proxy_set_header Host $http_host;
  proxy_set_header Upgrade $http_upgrade;
  proxy_set_header Connection $upgraded;
  server {{
    listen 127.0.0.1:{plain};
    location / {{
      proxy_pass https://127.0.0.1:{proxy};
      proxy_set_header Host $http_host;
      proxy_set_header Origin https://$http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $upgraded;
    }}
  }}
  server {{
    listen 127.0.0.1:{secure} ssl; ssl_certificate {certificate}; ssl_certificate_key {key};
    location / {{ proxy_pass http://127.0.0.1:{echo}; }}
  }}
}}
"""


class Secure(Peer):
    """A proxy with TLS on one side or both."""

    def __init__(self, side: str, certificate: tuple[Path, Path]) -> None:
        self.browser = side != "upstream"
        self.upstream = side != "browser"
        self.certificate, self.key = certificate

    def missing(self) -> str | None:
        """What is needed was looked for before."""
        return None

    def version(self) -> str:
        """Of no interest here."""
        return "?"


class SecureBascule(Secure):
    """Bascule of a checkout."""

    about = "Bascule with TLS"

    def __init__(self, side: str, certificate: tuple[Path, Path], checkout: Path) -> None:
        super().__init__(side, certificate)
        self.checkout = checkout
        self.name = "bascule" if checkout == ROOT else checkout.name

    def launch(self, setting: Setting) -> Launch:
        """As `Bascule`, and with TLS."""
        launch = Bascule().launch(setting)
        path = setting.directory / "bascule.yaml"
        configuration = json.loads(path.read_text())
        if self.browser:
            configuration["tls"] = {"certificate": str(self.certificate), "key": str(self.key)}
        if self.upstream:
            configuration["routes"][0]["upstream"] = f"https://127.0.0.1:{setting.upstream}"
            configuration["upstreamTls"] = {"verify": False}
        path.write_text(json.dumps(configuration, indent=1))
        launch.environment["PYTHONPATH"] = str(self.checkout / "src")
        return launch


class SecureNginx(Secure):
    """nginx with the buffers for large frames."""

    name = "nginx-64k"
    about = "nginx with TLS"

    def launch(self, setting: Setting) -> Launch:
        """As `NginxLargeBuffers`, and with TLS."""
        launch = nginx.NginxLargeBuffers().launch(setting)
        path = setting.directory / "nginx.conf"
        text = path.read_text()
        if self.browser:
            listens = f"listen 127.0.0.1:{setting.port}"
            pair = f"ssl_certificate {self.certificate}; ssl_certificate_key {self.key};"
            text = text.replace(f"{listens} backlog=4096;", f"{listens} ssl backlog=4096; {pair}")
        if self.upstream:
            text = text.replace("proxy_pass http:", "proxy_pass https:")
        path.write_text(text)
        return launch


def make_certificate() -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    WORK.mkdir(parents=True, exist_ok=True)
    certificate, key = WORK / "certificate.pem", WORK / "key.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=127.0.0.1"
    )
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


class SecureRunning(Running):
    """A started proxy, and what speaks TLS for both its neighbours."""

    def __init__(self, peer: Secure, stack: ExitStack) -> None:
        plain, secure = free_ports(2)
        self.echo = stack.enter_context(Echo())
        super().__init__(peer, secure if peer.upstream else self.echo.port)
        stack.callback(self.stop)
        directory = WORK / f"beside-{self.port}"
        directory.mkdir(parents=True, exist_ok=True)
        ports = {"plain": plain, "secure": secure, "proxy": self.port, "echo": self.echo.port}
        text = BESIDE.format(
            **ports, more=nginx.NginxLargeBuffers.more, certificate=peer.certificate, key=peer.key
        )
        (directory / "nginx.conf").write_text(text)
        beside = subprocess.Popen(
            [nginx.binary() or "nginx", "-p", f"{directory}/", "-c", "nginx.conf", "-e", "error.log"],
            preexec_fn=pin(other_processors()),
        )
        stack.callback(beside.wait)
        stack.callback(beside.terminate)
        self.asked = plain if peer.browser else self.port
        self.wait(port=self.asked)
        self.load = stack.enter_context(Load(self.asked))
        self.load.ask("open", n=max(sessions for _, sessions, _ in SHAPES.values()))


def measure(side: str, peers: list[Secure]) -> None:
    """Print CPU per round trip (small) and per GB (large) of each proxy."""
    samples: dict[tuple[str, str], list[float]] = {}
    with ExitStack() as stack:
        proxies = [SecureRunning(peer, stack) for peer in peers]
        for number in range(ROUNDS):
            for proxy in proxies if number % 2 else reversed(proxies):
                for name, (size, sessions, flight) in SHAPES.items():
                    pids = proxy.pids()
                    before = accounting.read_processor(pids)
                    answer = proxy.load.ask("run", size=size, active=sessions, flight=flight, seconds=SECONDS)
                    cpu = accounting.read_processor(pids).since(before).cpu / answer["answered"]
                    scale = 1e6 if name.startswith("64 B") else 1e9 / 2 / size
                    samples.setdefault((name, proxy.peer.name), []).append(cpu * scale)
    print(f"TLS: {side:10}" + "".join(f"{peer.name:>14}" for peer in peers))
    for name in SHAPES:
        row = (statistics.median(samples[name, peer.name]) for peer in peers)
        unit = " \N{MICRO SIGN}s" if name.startswith("64 B") else " s/GB"
        print(f"{name:15}" + "".join(f"{value:14.3f}" for value in row) + unit, flush=True)


def main() -> int:
    """Measure each side in turn."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", type=Path, action="append", default=[], metavar="CHECKOUT")
    options = parser.parse_args()
    if nginx.binary() is None:
        raise SystemExit("nginx is not installed")
    certificate = make_certificate()
    with steady(), ahead():
        for side in SIDES:
            others = [SecureBascule(side, certificate, path.resolve()) for path in options.against]
            measure(side, [SecureBascule(side, certificate, ROOT), *others, SecureNginx(side, certificate)])
    return 0


if __name__ == "__main__":
    sys.exit(main())
