"""Routes that JupyterHub adds and removes, through the whole proxy."""

from __future__ import annotations

import resource
import signal
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.support.frames import CLOSE, PING, PONG, TEXT
from tests.support.hubapi import HubApi
from tests.support.processes import reserve_port
from tests.support.proctree import gateway, kill
from tests.support.rawclient import RawClient, connect, connected
from tests.support.rawupstream import echo_frames, run_upstream, switch
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from tests.conftest import Start
    from tests.support.bascule import RunningBascule
    from tests.support.rawupstream import Call, RawUpstream

    Hub = Callable[..., tuple[RunningBascule, HubApi]]

ALICE = "/user/alice"
USER_FULL = b"WebSocket session cap of this user reached (maxSessionsPerUser)"
CHANNELS = b"/user/alice/api/kernels/1/channels"


@pytest.fixture
def hubs_own() -> Iterator[RawUpstream]:
    """Run a Hub, as far as a proxy asks it anything: pages of errors."""
    with run_upstream() as running:
        running.scripts[b"/hub/error/"] = say_page
        yield running


def say_page(call: Call) -> None:
    page = b"<p>Your server has stopped.</p>"
    call.send(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=UTF-8\r\nSet-Cookie: not=ours\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(page), page)
    )


def opened(
    proxy: RunningBascule, target: bytes = CHANNELS, *more: bytes, host: bytes = b"front"
) -> RawClient:
    client = connect(proxy.public_url)
    client.open(target, *more, host=host)
    return client


def get(proxy: RunningBascule, target: bytes, *more: bytes, host: bytes = b"front") -> tuple[int, bytes]:
    with connected(proxy.public_url) as client:
        client.send(
            b"\r\n".join(
                [b"GET %b HTTP/1.1" % target, b"Host: " + host, *more, b"Connection: close", b"", b""]
            )
        )
        answer = client.answer()
        return answer.status, answer.body


def test_a_session_on_a_route_of_the_hub_is_named_by_its_path_and_its_user(
    hub: Hub, upstream: RawUpstream
) -> None:
    proxy, api = hub()
    api.add(ALICE, upstream.url, user="alice", jupyterhub=True)

    with closing(opened(proxy)) as client:
        client.say(b"hello")
        assert client.reply().payload == b"hello"
        (row,) = api.sessions()
        assert (row["route"], row["user"], row["kind"]) == (ALICE, "alice", "jupyter")
        client.say(b"", CLOSE)
        assert client.reply().opcode == CLOSE

    eventually(lambda: proxy.events("session ended"), 10, "the session has its line")
    (line,) = proxy.events("session ended")
    assert (line["route"], line["user"]) == (ALICE, "alice")


def test_a_removed_route_lets_its_sessions_go_on(hub: Hub, upstream: RawUpstream) -> None:
    proxy, api = hub()
    api.add(ALICE, upstream.url)

    with closing(opened(proxy)) as client:
        assert api.remove(ALICE) == 204
        assert api.remove(ALICE) == 404
        assert get(proxy, CHANNELS)[0] == 404
        client.say(b"still here")
        assert client.reply().payload == b"still here"


def test_routes_outlive_the_gateway(hub: Hub, upstream: RawUpstream) -> None:
    proxy, api = hub()
    api.add(ALICE, upstream.url, user="alice")
    api.add("/user/bob", upstream.url)
    api.remove("/user/bob")
    before = api.routes()

    with closing(opened(proxy)) as client:
        kill(gateway(proxy))
        eventually(lambda: proxy.in_flight_if_up == 1, 20, "another gateway has the session")

        assert api.routes().keys() == before.keys()
        client.say(b"one more")
        assert client.reply().payload == b"one more"
        with closing(opened(proxy)) as another:
            another.say(b"and another")
            assert another.reply().payload == b"and another"
        assert {row["user"] for row in api.sessions()} == {"alice"}


def test_who_typed_and_left_while_there_was_no_gateway_was_active(hub: Hub, upstream: RawUpstream) -> None:
    proxy, api = hub()
    api.add(ALICE, upstream.url)
    with closing(opened(proxy)) as client:
        added = api.last_activity(ALICE)
        serving = gateway(proxy)
        kill(proxy.process.pid, signal.SIGSTOP)  # the supervisor, or another gateway is there in no time
        kill(serving)
        client.say(b"print(1)")
        assert client.reply().payload == b"print(1)"
        client.say(b"", CLOSE)
        assert client.reply().opcode == CLOSE
        kill(proxy.process.pid, signal.SIGCONT)

    eventually(lambda: proxy.in_flight_if_up == 0, 20, "another gateway has heard of the end")
    assert api.last_activity(ALICE) > added


def test_routes_and_their_activity_outlive_a_reload(hub: Hub, upstream: RawUpstream) -> None:
    proxy, api = hub()
    api.add(ALICE, upstream.url)
    with closing(opened(proxy)) as client:
        client.say(b"hello")
        assert client.reply().payload == b"hello"
        active = api.last_activity(ALICE)

        proxy.goes_over(7)

        assert api.last_activity(ALICE) == active
        client.say(b"hello again")
        assert client.reply().payload == b"hello again"
        eventually(lambda: api.last_activity(ALICE) > active, 5, "the list of sessions is read anew")


def test_without_memory_for_the_journal_nothing_changes_and_a_reload_goes_as_ever(
    hub: Hub, upstream: RawUpstream
) -> None:
    proxy, api = hub()
    for number in range(50):
        api.add(f"/user/{number}", upstream.url, filling="x" * 4000)
    # Longer than the log will be, shorter than the journal is.
    resource.prlimit(
        gateway(proxy), resource.RLIMIT_FSIZE, (1 << 16, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    )

    assert api.call("POST", "/api/routes/more", {"target": upstream.url})[0] == 503
    assert api.remove("/user/0") == 503
    proxy.goes_over(7)

    assert list(api.routes()) == [f"/user/{number}" for number in range(50)]
    (left,) = eventually(lambda: proxy.events("a former gateway has left"), 10, "it is told")
    assert left["status"] == "0"


def test_a_reload_that_takes_no_routes_any_more_forgets_them(hub: Hub, upstream: RawUpstream) -> None:
    proxy, api = hub()
    api.add(ALICE, upstream.url)

    assert proxy.reload(
        hub={"enabled": False}, routes=[{"name": "all", "path": "/", "upstream": upstream.url}]
    )
    eventually(
        lambda: (api.call_if_up("GET", "/api/routes") or (0,))[0] == 404, 20, "the other gateway serves"
    )

    with closing(opened(proxy)) as client:
        client.say(b"hello")
        assert client.reply().payload == b"hello"

    # JupyterHub could remove none meanwhile.
    assert proxy.reload(hub={"enabled": True})
    eventually(
        lambda: api.call_if_up("GET", "/api/routes") == (200, b"{}"), 20, "the other gateway serves, empty"
    )


def test_only_what_a_browser_sends_is_activity(hub: Hub, upstream: RawUpstream) -> None:
    speak, spoken = threading.Event(), threading.Event()

    def talkative(call: Call) -> None:
        switch(call)
        assert speak.wait(20)
        call.send(b"\x81\x05hello")
        spoken.set()
        echo_frames(call)

    upstream.scripts[b"/user/alice/talkative"] = talkative
    proxy, api = hub()
    api.add(ALICE, upstream.url)
    with closing(opened(proxy, b"/user/alice/talkative")) as client:
        added = api.last_activity(ALICE)

        client.say(b"", PING)
        assert client.frame().opcode == PONG
        client.say(b"", PONG)
        speak.set()
        assert client.reply().payload == b"hello"
        assert spoken.wait(10)
        assert api.last_activity(ALICE) == added

        client.say(b"print(1)")
        assert client.reply().payload == b"print(1)"
        eventually(lambda: api.last_activity(ALICE) > added, 5, "the list of sessions is read anew")


def test_an_answer_below_300_is_activity_and_an_error_is_not(hub: Hub, upstream: RawUpstream) -> None:
    upstream.scripts[b"/user/alice/good"] = lambda call: call.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    upstream.scripts[b"/user/alice/bad"] = lambda call: call.send(
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    )
    proxy, api = hub()
    api.add(ALICE, upstream.url)
    added = api.last_activity(ALICE)

    assert get(proxy, b"/user/alice/bad")[0] == 404
    assert api.last_activity(ALICE) == added
    assert get(proxy, b"/user/alice/good")[0] == 204
    assert api.last_activity(ALICE) > added


def test_each_part_of_an_upload_is_activity(hub: Hub, upstream: RawUpstream) -> None:
    def take(call: Call) -> None:
        while not call.buffer.endswith(b"0\r\n\r\n") and call.receive():
            pass
        call.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    upstream.scripts[b"/user/alice/upload"] = take
    proxy, api = hub()
    api.add(ALICE, upstream.url)

    with connected(proxy.public_url) as client:
        client.send(b"PUT /user/alice/upload HTTP/1.1\r\nHost: front\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            known = api.last_activity(ALICE)

            def counts(known: datetime = known) -> bool:
                client.send(b"4\r\npart\r\n")
                return api.last_activity(ALICE) > known

            eventually(counts, 5, "another part counts")
        client.send(b"0\r\n\r\n")
        assert client.answer().status == 404


def test_an_upload_of_which_nothing_was_sent_is_no_activity(hub: Hub, upstream: RawUpstream) -> None:
    upstream.scripts[b"/user/alice/upload"] = lambda call: call.send(
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    proxy, api = hub()
    api.add(ALICE, upstream.url)
    added = api.last_activity(ALICE)

    with connected(proxy.public_url) as client:
        client.send(
            b"PUT /user/alice/upload HTTP/1.1\r\nHost: front\r\nContent-Length: 4\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        assert client.answer().status == 403
    assert api.last_activity(ALICE) == added


def test_a_server_that_has_stopped_is_503_with_the_page_of_the_hub(hub: Hub, hubs_own: RawUpstream) -> None:
    proxy, api = hub(settings={"errorTarget": f"{hubs_own.url}/hub/error"})
    api.add(ALICE, f"http://127.0.0.1:{reserve_port()}")

    with connected(proxy.public_url) as client:
        client.send(b"GET /user/alice/lab?a=b&c HTTP/1.1\r\nHost: front\r\n\r\n")
        answer = client.answer()

    assert (answer.status, answer.body) == (503, b"<p>Your server has stopped.</p>")
    assert answer.value(b"Content-Type") == b"text/html; charset=UTF-8"
    assert answer.value(b"Set-Cookie") is None
    (asked,) = hubs_own.calls
    assert asked.target == b"/hub/error/503?url=%2Fuser%2Falice%2Flab%3Fa%3Db%26c"


def test_a_websocket_of_a_server_that_has_stopped_is_told_to_try_again(
    hub: Hub, hubs_own: RawUpstream
) -> None:
    proxy, api = hub(settings={"errorTarget": f"{hubs_own.url}/hub/error"})
    api.add(ALICE, f"http://127.0.0.1:{reserve_port()}")

    with closing(opened(proxy)) as client:
        said = client.reply()

    assert (said.code, said.reason) == (1013, b"WebSocket upstream is not reachable")
    assert proxy.metric("ws_upstream_connect_failures_total") == 1


def test_where_the_hub_has_no_page_there_is_ours(hub: Hub) -> None:
    proxy, _ = hub(settings={"errorTarget": f"http://127.0.0.1:{reserve_port()}/hub/error"})

    status, body = get(proxy, b"/user/nobody", b"Accept: text/html")

    assert status == 404
    assert b"<h1>404 Not Found</h1>" in body


def test_what_no_route_has_goes_to_the_default_target(hub: Hub, upstream: RawUpstream) -> None:
    upstream.scripts[b"/elsewhere"] = lambda call: call.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    proxy, api = hub(settings={"defaultTarget": upstream.url})

    assert get(proxy, b"/elsewhere")[0] == 204
    assert api.routes() == {}


def test_without_its_prefix_a_page_gets_its_slash_and_a_location_of_the_upstream_stays_as_it_is(
    hub: Hub, upstream: RawUpstream
) -> None:
    upstream.scripts[b"/x"] = lambda call: call.send(
        b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n"
    )
    proxy, api = hub(settings={"includePrefix": False})
    api.add(ALICE, upstream.url)

    for target, told in ((b"/user/alice", (301, b"./alice/")), (b"/user/alice/x", (302, b"/login"))):
        with connected(proxy.public_url) as client:
            client.send(b"GET %b HTTP/1.1\r\nHost: front\r\n\r\n" % target)
            answer = client.answer()
            assert (answer.status, answer.value(b"Location")) == told


def test_each_user_has_a_host_where_the_hub_has_subdomains(hub: Hub, upstream: RawUpstream) -> None:
    upstream.scripts[b"/user/alice/whoami"] = lambda call: call.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    proxy, api = hub(settings={"hostRouting": True})
    api.add("/alice.hub.example/user/alice", upstream.url)

    assert get(proxy, b"/user/alice/whoami", host=b"alice.hub.example:8000")[0] == 204
    assert get(proxy, b"/user/alice/whoami", host=b"bob.hub.example")[0] == 404
    with closing(opened(proxy, CHANNELS, host=b"ALICE.hub.example")) as client:
        client.say(b"hello", TEXT)
        assert client.reply().payload == b"hello"


def test_a_page_behind_nginx_as_jupyterhub_sets_it_up_may_open_websockets(
    hub: Hub, upstream: RawUpstream
) -> None:
    proxy, api = hub(trustedProxies=["0.0.0.0/0"])
    api.add(ALICE, upstream.url)
    told = (b"X-Real-IP: 192.0.2.1", b"X-Scheme: https", b"Origin: https://hub.example")

    with closing(opened(proxy, CHANNELS, *told, host=b"hub.example")) as client:
        client.say(b"hello")
        assert client.reply().payload == b"hello"
    assert upstream.calls_for(CHANNELS)[-1].value(b"X-Forwarded-Proto") == b"https"


def test_the_probe_of_the_hubs_chart_is_answered_before_any_route(hub: Hub, upstream: RawUpstream) -> None:
    proxy, api = hub()
    api.add("/", upstream.url)

    assert get(proxy, b"/_chp_healthz") == (200, b'{"status": "OK"}')


def test_a_proxy_that_takes_no_routes_has_no_probe_and_no_api(bascule: Start, upstream: RawUpstream) -> None:
    upstream.scripts[b"/_chp_healthz"] = lambda call: call.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    proxy = bascule({"routes": [{"name": "all", "path": "/", "upstream": upstream.url}]})

    assert get(proxy, b"/_chp_healthz")[0] == 204
    assert HubApi(proxy.admin_url, "").call("GET", "/api/routes")[0] == 404


def test_one_user_cannot_take_the_slots_of_others(hub: Hub, upstream: RawUpstream) -> None:
    proxy, api = hub(limits={"maxSessionsPerUser": 2})
    api.add(ALICE, upstream.url, user="alice")
    api.add("/user/bob", upstream.url, user="bob")

    with closing(opened(proxy)), closing(opened(proxy)) as second:
        with closing(opened(proxy)) as refused:
            said = refused.reply()
        assert (said.code, said.reason) == (1013, USER_FULL)
        with closing(opened(proxy, b"/user/bob/api/events/subscribe")) as others:
            others.say(b"hello")
            assert others.reply().payload == b"hello"
        eventually(lambda: proxy.events("session ended"), 10, "theirs is over")
        assert proxy.metric("bascule_refusals_total", reason="user_cap") == 1
        assert proxy.metric("ws_connection_rejections_total") == 0

        kill(gateway(proxy))
        eventually(lambda: (proxy.in_flight_if_up or 0) >= 2, 20, "another gateway has the sessions")
        with closing(opened(proxy)) as refused:
            assert refused.reply().reason == USER_FULL

        second.say(b"", CLOSE)
        assert second.reply().opcode == CLOSE
        eventually(lambda: len(proxy.events("session ended")) >= 2, 10, "it is over")
        with closing(opened(proxy)) as third:
            third.say(b"hello")
            assert third.reply().payload == b"hello"


def test_who_is_refused_at_anothers_server_does_not_make_its_user_wait(
    hub: Hub, upstream: RawUpstream
) -> None:
    proxy, api = hub(websocketProxy={"maxSessionsPerApp": 1}, trustedProxies=["127.0.0.1/32"])
    api.add("/user/ada", upstream.url, user="ada")
    stranger, ada = b"X-Forwarded-For: 192.0.2.1", b"X-Forwarded-For: 192.0.2.2"
    with closing(opened(proxy, b"/user/ada/a")):
        for client in (stranger, stranger, ada):
            with closing(opened(proxy, b"/user/ada/a", client)) as refused:
                assert refused.reply().code == 1013
    lines = proxy.all_events("session refused", 3)
    held = [(line["client"], "held_seconds" in line) for line in lines]
    assert sorted(held) == [("192.0.2.1", False), ("192.0.2.1", True), ("192.0.2.2", False)]
