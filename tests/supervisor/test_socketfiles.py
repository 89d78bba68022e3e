"""Listening at a Unix socket: what is there already, what is left behind, and who may connect."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import stat
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from bascule.configuration.config import Config, Endpoint, Sockets
from bascule.configuration.endpoints import SocketFile
from bascule.errors import ConfigError
from bascule.supervisor import socketfiles as module
from bascule.supervisor.socketfiles import SocketPlace, bind_socket_file
from bascule.supervisor.sockets import Listeners, address, listen, url

if TYPE_CHECKING:
    from pathlib import Path

HERE = Endpoint("127.0.0.1", 0)


@pytest.fixture
def path(socket_folder: Path) -> Path:
    return socket_folder / "public.sock"


def at(path: Path, field: str = "listen", **config: object) -> socket.socket:
    return listen(Config.model_validate(config), SocketFile(str(path)), field)


def refusal(path: Path, field: str = "listen") -> str:
    with pytest.raises(ConfigError) as refused:
        at(path, field)
    (problem,) = refused.value.problems
    return problem


@pytest.mark.parametrize(
    ("field", "config", "mode"),
    [
        ("listen", {}, 0o660),
        ("admin", {}, 0o600),
        ("listen", {"listenMode": "666"}, 0o666),
        ("admin", {"adminMode": "0640"}, 0o640),
    ],
)
def test_its_permissions_are_those_of_the_configuration(
    path: Path, field: str, config: dict[str, str], mode: int
) -> None:
    before = os.umask(0o027)
    try:
        with at(path, field, **config):
            assert stat.S_IMODE(path.stat().st_mode) == mode
        assert os.umask(0o027) == 0o027, "our own files are as before"
    finally:
        os.umask(before)


def test_a_socket_that_a_dead_process_has_left_is_replaced(path: Path) -> None:
    at(path).close()
    assert path.is_socket()
    with at(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


@pytest.mark.parametrize("backlog", [8, 0], ids=["accepting", "full"])
def test_a_socket_that_is_served_is_left_alone(path: Path, backlog: int) -> None:
    with socket.socket(socket.AF_UNIX) as theirs, socket.socket(socket.AF_UNIX) as client:
        theirs.bind(str(path))
        theirs.listen(backlog)
        client.connect(str(path))
        assert refusal(path) == f"listen: cannot listen on unix:{path}: Address already in use"
        with theirs.accept()[0] as accepted:
            accepted.send(b"still theirs")
        assert client.recv(20) == b"still theirs"


def test_a_datagram_socket_is_somebodys(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as theirs:
        theirs.bind(str(path))
        assert "Address already in use" in refusal(path)


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_is_left_alone(path: Path, kind: str) -> None:
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        at(path.with_name("other")).close()
        path.symlink_to(path.with_name("other"))
    assert refusal(path, "admin").endswith("there is a file that is no socket")
    assert path.exists()


def test_a_directory_that_is_not_there_is_told(path: Path) -> None:
    path = path.parent / "none" / "public.sock"
    assert refusal(path) == f"listen: cannot listen on unix:{path}: its directory does not exist"


def test_a_directory_that_may_not_be_written_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Denied(socket.socket):
        def bind(self, _: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "socket", Denied)
    assert refusal(path).endswith(": the permissions of its directory do not allow it")


def test_a_socket_that_cannot_listen_is_closed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(socket.socket):
        def listen(self, backlog: int = 0) -> None:
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))

    monkeypatch.setattr(socket, "socket", Full)
    assert os.strerror(errno.ENOBUFS) in refusal(path)


def test_of_two_that_find_a_dead_socket_one_waits_for_the_other(path: Path) -> None:
    at(path).close()
    directory = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    begun = time.monotonic()
    threading.Timer(0.2, os.close, (directory,)).start()
    with at(path):
        assert time.monotonic() - begun >= 0.15


def test_a_directory_that_stays_locked_keeps_nobody_for_ever(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_OTHERS_BIND", 0.05)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        at(path).close()
    finally:
        os.close(directory)


def test_a_file_is_removed_only_while_it_is_the_one_that_was_bound(path: Path) -> None:
    with bind_socket_file(str(path), 0o600):
        ours = SocketPlace.of(str(path))
        path.rename(path.with_name("moved"))
        ours.remove()  # there is none
        with at(path):
            ours.remove()
            assert path.is_socket(), "another's"
        path.unlink()
        path.with_name("moved").rename(path)
        ours.remove()
        assert not path.exists()


def both(folder: Path, **more: object) -> Config:
    return Config.model_validate(
        {"listen": f"unix:{folder}/public.sock", "admin": f"unix:{folder}/admin.sock", **more}
    )


def test_the_public_file_goes_first_and_no_other_that_takes_its_place(socket_folder: Path) -> None:
    config = both(socket_folder)
    listeners = Listeners.open(config)
    assert address(listeners.public) == f"unix:{socket_folder}/public.sock"
    assert url(listeners.public) is None
    assert sorted(os.listdir(socket_folder)) == ["admin.sock", "public.sock"]
    listeners.close_public()
    assert os.listdir(socket_folder) == ["admin.sock"]
    with listen(config, SocketFile(f"{socket_folder}/public.sock"), "listen"):  # the next proxy
        listeners.close()
        listeners.close()
        assert os.listdir(socket_folder) == ["public.sock"]


def test_what_was_bound_is_removed_when_another_cannot_be(socket_folder: Path) -> None:
    (socket_folder / "public.sock").touch()
    with pytest.raises(ConfigError, match=re.escape("listen: cannot listen on unix:")):
        Listeners.open(both(socket_folder))
    assert os.listdir(socket_folder) == ["public.sock"]


def test_one_that_is_given_up_in_time_is_waited_for(socket_folder: Path) -> None:
    before = Listeners.open(both(socket_folder))
    threading.Timer(0.2, before.close).start()
    with closing(Listeners.open(both(socket_folder), patience=20)) as after:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{socket_folder}/admin.sock")
        assert address(after.admin) == f"unix:{socket_folder}/admin.sock"


def test_options_of_tcp_are_not_for_it(socket_folder: Path) -> None:
    config = both(socket_folder, admin="127.0.0.1:0")
    with closing(Listeners.open(config)) as listeners:
        listeners.set_options(Sockets(keepalive_idle=7, backlog=1))
        assert listeners.admin.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 7
