"""What cannot be served is said on one line and exits with 2, with nothing left running."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bascule.configuration.namedfile import ALLOWED
from tests.support.certificates import make_certificate
from tests.support.parts import missing, require

if TYPE_CHECKING:
    from collections.abc import Iterator


def serve(home: Path, *wrapper: str, **config: Any) -> subprocess.CompletedProcess[str]:
    """Serve until it ends by itself; ``wrapper`` is a command that runs the command."""
    file = home / "bascule.yaml"
    whole = {
        "listen": "127.0.0.1:0",
        "admin": "127.0.0.1:0",
        "log": {"format": "json"},
        "routes": [{"name": "r", "path": "/", "upstream": "http://127.0.0.1:1"}],
        **config,
    }
    file.write_text(json.dumps(whole))
    script = Path(sys.executable).parent / "bascule"
    return subprocess.run(
        [*wrapper, script, "serve", "--config", file],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def taken() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("field", ["listen", "admin"])
def test_an_address_in_use_names_its_field(tmp_path: Path, taken: str, field: str) -> None:
    done = serve(tmp_path, **{field: taken})
    assert done.returncode == 2
    assert f"{field}: cannot listen on {taken}: Address already in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_of_another_host_names_its_field(tmp_path: Path) -> None:
    done = serve(tmp_path, listen="192.0.2.1:0")
    assert done.returncode == 2
    assert "listen: cannot listen on 192.0.2.1:0" in done.stderr


def test_a_privileged_port_names_its_field(tmp_path: Path) -> None:
    port = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) - 1
    if port < 1:
        missing("this host has no privileged ports")
    # Root may bind every port, unless it is started without that capability.
    wrapper = ("setpriv", "--bounding-set", "-net_bind_service") if os.geteuid() == 0 else ()
    done = serve(tmp_path, *wrapper, listen=f"127.0.0.1:{port}")
    assert done.returncode == 2
    assert f"listen: cannot listen on 127.0.0.1:{port}: Permission denied" in done.stderr


@pytest.mark.parametrize("limit", [6, 8, 10, 12, 20])
def test_a_limit_of_open_files_that_allows_no_session_is_one_line(tmp_path: Path, limit: int) -> None:
    done = serve(tmp_path, "prlimit", f"--nofile={limit}")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert (
        f"the open-file limit (ulimit -n): found {limit};" in done.stderr
        or "Too many open files" in done.stderr
    )


def test_a_start_that_fails_leaves_no_files_of_unix_sockets(tmp_path: Path) -> None:
    done = serve(
        tmp_path, "prlimit", "--nofile=60", listen=f"unix:{tmp_path}/p.sock", admin=f"unix:{tmp_path}/a.sock"
    )
    assert done.returncode == 2
    assert "the open-file limit (ulimit -n): found 60;" in done.stderr
    assert not list(tmp_path.glob("*.sock"))


def test_a_start_without_descriptors_for_all_processes_ends_them_and_fails(tmp_path: Path) -> None:
    done = serve(
        tmp_path, "prlimit", "--nofile=80",
        forwarders={"count": 40}, websocketProxy={"maxSessionsPerApp": 40, "grizzlyWorkerPoolMaxSize": 40},
    )  # fmt: skip
    assert done.returncode == 1
    failed, stopped = (json.loads(line) for line in done.stderr.splitlines()[-2:])
    assert (failed["event"], stopped["event"]) == ("a process could not be started", "stopped")
    assert "Too many open files" in failed["error"]


def test_a_key_that_cannot_be_read_is_a_bad_configuration(tmp_path: Path) -> None:
    # Only the gateway reads it: it says so and exits 2, and so does the whole proxy.
    done = serve(
        tmp_path,
        routes=[{"name": "r", "path": "/", "upstream": "http://127.0.0.1:1", "auth": "session"}],
        auth={"session": {"keyFile": str(tmp_path / "missing")}},
    )
    assert done.returncode == 2, done.stderr
    assert "missing" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_only_the_gateway_finds_is_told_with_its_place_as_well(tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    done = serve(tmp_path, auth={"session": {"keyFile": str(made.certificate)}})
    assert done.returncode == 2, done.stderr
    (problem,) = (
        line["problem"]
        for line in map(json.loads, done.stderr.splitlines())
        if line["event"] == "configuration cannot be used"
    )
    assert problem.startswith(f"{tmp_path}/bascule.yaml:1: auth.session.keyFile: found an asymmetric key")


def test_a_certificate_that_cannot_be_read_is_a_bad_configuration(tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("this is no certificate")
    done = serve(tmp_path, tls={"certificate": str(bad), "key": str(bad)})
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{tmp_path}/bascule.yaml:1: tls.certificate: {bad} and {bad} cannot be used: ")
    assert line.endswith("; allowed: a certificate and its key in PEM")


def test_an_encrypted_key_is_a_bad_configuration_and_asks_no_terminal(tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    encrypted = tmp_path / "encrypted.pem"
    command: list[str | Path] = [require("openssl"), "pkey", "-aes256", "-passout", "pass:any"]
    subprocess.run([*command, "-in", made.key, "-out", encrypted], check=True, capture_output=True)
    done = serve(tmp_path, tls={"certificate": str(made.certificate), "key": str(encrypted)})
    assert done.returncode == 2, done.stderr
    problem = f"tls.key: {encrypted} is encrypted; allowed: a key without a passphrase"
    assert done.stderr == f"{tmp_path}/bascule.yaml:1: {problem}\n"


def test_certificates_for_upstreams_that_cannot_be_used_are_a_bad_configuration(tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    bad = tmp_path / "bad.pem"
    bad.write_text("this is no certificate")
    done = serve(tmp_path, tls=made.block(), upstreamTls={"ca": str(bad)})
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{tmp_path}/bascule.yaml:1: upstreamTls.ca: {bad} cannot be used: ")


def test_all_files_that_cannot_be_read_are_named_at_once_and_nothing_is_started(tmp_path: Path) -> None:
    names = {name: str(tmp_path / name) for name in ("certificate", "key", "token", "signing")}
    done = serve(
        tmp_path,
        tls={"certificate": names["certificate"], "key": names["key"]},
        auth={"session": {"keyFile": names["signing"]}},
        adminTokenFile=names["token"],
    )
    assert done.returncode == 2
    place = f"{tmp_path}/bascule.yaml:1: "
    assert sorted(done.stderr.replace(place, "").splitlines()) == [
        f"adminTokenFile: No such file or directory: {names['token']}; allowed: {ALLOWED}",
        f"auth.session.keyFile: No such file or directory: {names['signing']}; allowed: {ALLOWED}",
        f"tls.certificate: No such file or directory: {names['certificate']}; allowed: {ALLOWED}",
        f"tls.key: No such file or directory: {names['key']}; allowed: {ALLOWED}",
    ]


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe"])
def test_an_admin_token_that_is_not_there_is_a_bad_configuration(
    tmp_path: Path, content: bytes | None
) -> None:
    # Neither a crash loop, nor a listener that does without the token it was promised.
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    done = serve(tmp_path, adminTokenFile=str(file))
    assert done.returncode == 2, done.stderr
    assert "adminTokenFile: " in done.stderr
    assert str(file) in done.stderr
    assert "a process died" not in done.stderr, "none is started again"
    assert "Traceback" not in done.stderr
