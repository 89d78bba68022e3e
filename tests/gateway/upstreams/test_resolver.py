"""A name is looked up once for all who wait, remembered for a while, and keeps nobody else waiting."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bascule.gateway.connections.turns import Turns
from bascule.gateway.upstreams.resolver import AT_ONCE, REMEMBER, Resolver, Unresolvable
from tests.support.fewdescriptors import no_descriptors_left
from tests.support.network import ip, named_network
from tests.support.parts import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.7", 80))]


class Names:
    """Stands where the system's resolver does; answers when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.now = 100.0
        self.answer = asyncio.Event()
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "getaddrinfo", self.look_up)
        monkeypatch.setattr(loop, "time", lambda: self.now)

    async def look_up(self, host: str, port: int, **_: Any) -> Any:
        self.asked.append(host)
        await self.answer.wait()
        if host == "dead":
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return FOUND


@pytest.fixture
async def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    return Names(monkeypatch)


async def test_those_who_wait_for_a_name_share_one_look_up(names: Names) -> None:
    resolver = Resolver()
    waiting = [asyncio.create_task(resolver.resolve("lab", 80)) for _ in range(20)]
    await asyncio.sleep(0)
    names.answer.set()
    assert await asyncio.gather(*waiting) == [[(socket.AF_INET, ("10.0.0.7", 80))]] * 20
    assert names.asked == ["lab"]


async def test_one_who_gives_up_takes_the_answer_from_nobody(names: Names) -> None:
    resolver = Resolver()
    impatient, patient = (asyncio.create_task(resolver.resolve("lab", 80)) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    names.answer.set()
    assert await patient == [(socket.AF_INET, ("10.0.0.7", 80))]


async def test_an_answer_is_remembered_for_a_while_and_then_asked_for_again(names: Names) -> None:
    resolver = Resolver()
    names.answer.set()
    await resolver.resolve("lab", 80)
    names.now += REMEMBER - 0.1
    assert resolver.known("lab", 80) == await resolver.resolve("lab", 80)
    assert names.asked == ["lab"]
    names.now += 0.1
    assert resolver.known("lab", 80) is None
    await resolver.resolve("lab", 80)
    assert names.asked == ["lab", "lab"]


async def test_an_answer_that_led_nowhere_is_asked_for_again_a_second_after_it_came(names: Names) -> None:
    resolver = Resolver()
    names.answer.set()
    await resolver.resolve("lab", 80)
    for _ in range(3):
        names.now += 0.3
        resolver.doubt("lab")
        assert resolver.known("lab", 80) == [(socket.AF_INET, ("10.0.0.7", 80))]
    names.now += 0.2
    assert resolver.known("lab", 80) is None
    await resolver.resolve("lab", 80)
    names.now += REMEMBER - 0.1
    assert resolver.known("lab", 80) is not None
    assert names.asked == ["lab", "lab"]


async def test_there_is_no_doubt_about_an_address_or_a_name_that_is_not_known(names: Names) -> None:
    resolver = Resolver()
    await resolver.resolve("10.0.0.8", 80)
    for host in ("10.0.0.8", "lab"):
        resolver.doubt(host)
    names.now += 10 * REMEMBER
    assert resolver.known("10.0.0.8", 80) == [(socket.AF_INET, ("10.0.0.8", 80))]
    assert resolver.known("lab", 80) is None


@pytest.mark.parametrize(
    "said", [socket.gaierror(socket.EAI_NONAME, "no such name"), OSError(errno.EMFILE, "Too many open files")]
)
async def test_a_look_up_that_lacks_a_descriptor_does_not_say_that_there_is_no_such_name(
    monkeypatch: pytest.MonkeyPatch, said: OSError
) -> None:
    async def look_up(*_: Any, **__: Any) -> Any:
        raise said

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
    with no_descriptors_left(), pytest.raises(OSError) as failed:  # noqa: PT011 - the number is compared
        await Resolver().resolve("lab", 80)
    assert failed.value.errno == errno.EMFILE


async def test_a_name_is_looked_up_once_whatever_the_port(names: Names) -> None:
    """URLs may choose the port."""
    resolver = Resolver()
    waiting = [asyncio.create_task(resolver.resolve("lab", port)) for port in (80, 8080)]
    await asyncio.sleep(0)
    names.answer.set()
    assert await asyncio.gather(*waiting) == [
        [(socket.AF_INET, ("10.0.0.7", 80))], [(socket.AF_INET, ("10.0.0.7", 8080))],
    ]  # fmt: skip
    assert resolver.known("lab", 443) == [(socket.AF_INET, ("10.0.0.7", 443))]
    assert names.asked == ["lab"]


async def begun(resolver: Resolver, *hosts: str, by_url: bool = True) -> list[asyncio.Task[Any]]:
    """Ask for names, and let those look-ups begin that may."""
    asking = [asyncio.create_task(resolver.resolve(host, 80, named_by_url=by_url)) for host in hosts]
    for _ in range(3):
        await asyncio.sleep(0)
    return asking


async def test_names_from_urls_take_half_of_the_threads_and_those_of_one_zone_a_quarter(names: Names) -> None:
    resolver = Resolver(named_by_urls=Turns(AT_ONCE // 2, AT_ONCE // 4))
    asking = await begun(resolver, *(f"user{number}.dead" for number in range(100)))
    assert len(names.asked) == AT_ONCE // 4
    asking += await begun(resolver, *(f"user{number}.also.dead" for number in range(100)))
    assert len(names.asked) == AT_ONCE // 2
    asking += await begun(resolver, "operators.dead", by_url=False)
    assert names.asked[-1] == "operators.dead"
    names.answer.set()
    await asyncio.gather(*asking)
    assert len(set(names.asked)) == len(names.asked) == 201, "all had their turn"


async def test_for_a_name_from_a_url_nobody_is_asked_whom_nobody_waits_for(names: Names) -> None:
    """Each would have kept a thread for 10 s, long after those who asked had given up."""
    turns = Turns(1, 1)
    resolver = Resolver(named_by_urls=turns)
    asking = await begun(resolver, "first.dead", "second.dead", "second.dead", "third.dead")
    for task in (asking[0], asking[1], asking[3]):
        task.cancel()
    await asyncio.wait(asking, timeout=0)
    assert names.asked == ["first.dead"]
    asking += await begun(resolver, "third.dead")  # somebody else
    assert turns.waiting == 2
    names.answer.set()
    for number in (2, 4):
        assert await asking[number] == [(socket.AF_INET, ("10.0.0.7", 80))]
    assert names.asked == ["first.dead", "second.dead", "third.dead"]


async def test_who_has_named_a_host_waits_for_no_url_that_names_the_same(names: Names) -> None:
    resolver = Resolver(named_by_urls=Turns(1, 1))
    asking = await begun(resolver, "first.zone", "lab.zone")
    asking += await begun(resolver, "lab.zone", by_url=False)
    assert names.asked == ["first.zone", "lab.zone"]
    names.answer.set()
    await asyncio.gather(*asking)


async def test_a_failure_is_not_remembered(names: Names) -> None:
    resolver = Resolver()
    names.answer.set()
    for _ in range(2):
        with pytest.raises(Unresolvable):
            await resolver.resolve("dead", 80)
    assert names.asked == ["dead", "dead"]


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("10.0.0.7", (socket.AF_INET, ("10.0.0.7", 80))),
        ("::1", (socket.AF_INET6, ("::1", 80, 0, 0))),
    ],
)
async def test_a_literal_address_never_waits(names: Names, host: str, address: Any) -> None:
    resolver = Resolver()
    assert await resolver.resolve(host, 80) == [address]
    names.now = float("1e12")
    assert resolver.known(host, 80) == [address]
    assert names.asked == []


@pytest.fixture
def own_name_server() -> Iterator[str]:
    """A network namespace whose only name server is whoever listens on its loopback."""
    with named_network() as name:
        settings = Path("/etc/netns") / name
        settings.mkdir(parents=True)
        try:
            (settings / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:5 attempts:2\n")
            ip("-n", name, "link", "set", "lo", "up")
            yield name
        finally:
            shutil.rmtree(settings)
            with contextlib.suppress(OSError):  # somebody else's is there
                settings.parent.rmdir()


@pytest.mark.real
def test_names_that_nobody_answers_for_keep_no_other_name_waiting(own_name_server: str) -> None:
    words = ["ip", "netns", "exec", own_name_server]
    words += [sys.executable, "-m", "tests.gateway.upstreams.dead_names"]
    environment = {name: value for name, value in os.environ.items() if name != "UV_THREADPOOL_SIZE"}
    run = subprocess.run(words, capture_output=True, text=True, timeout=60, cwd=ROOT, env=environment)
    said = json.loads(run.stdout)
    assert said["asked"], run.stderr
    assert said["found"] == ["127.0.0.1"] * 2
    assert said["pending"] == 100
    assert said["seconds"] < 3


async def test_the_path_of_a_unix_socket_is_an_address() -> None:
    resolver = Resolver()
    for _ in range(2):
        assert await resolver.resolve("/run/app.sock", 0) == [(socket.AF_UNIX, "/run/app.sock")]
    assert resolver.known("/run/app.sock", 0) == [(socket.AF_UNIX, "/run/app.sock")]
