import asyncio
import json
import time
from pathlib import Path

import pytest

from bascule.admin import events, sessionsapi
from bascule.admin.view import Unheard
from bascule.configuration.config import WebSocketProxy
from tests.admin.fake_view import FakeView, config
from tests.admin.support import CSRF, admin

ROOT = Path(__file__).parents[2]


async def test_it_is_alive_and_ready_until_it_drains() -> None:
    async with admin() as (client, view):
        assert (await (await client.get("/healthz")).json())["status"] == "ok"
        ready = await client.get("/readyz")
        assert (ready.status, await ready.json()) == (200, {"ready": True, "reason": None})
        view.drain()
        ready = await client.get("/readyz")
        assert ready.status == 503
        assert (await ready.json())["reason"].startswith("draining")
        assert (await client.get("/healthz")).status == 200


async def test_metrics_come_from_the_gateway_unchanged() -> None:
    async with admin() as (client, _):
        answer = await client.get("/metrics?scope=application")
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert (await answer.text()).startswith("ws_connection_in_flight_count")
        assert (await client.get("/metrics?scope=base")).status == 404


async def test_sessions_are_listed_filtered_and_paged() -> None:
    async with admin() as (client, view):
        for _ in range(5):
            view.open(user="ada")
        view.open(user=None)
        page = await (await client.get("/sessions?user=ada&limit=2")).json()
        assert page["total"] == 5
        assert [row["user"] for row in page["sessions"]] == ["ada", "ada"]
        rest = await (await client.get("/sessions", params={"user": "ada", "cursor": page["next"]})).json()
        assert len(rest["sessions"]) == 3
        assert rest["next"] is None


async def test_a_session_is_closed_with_a_code_and_a_reason() -> None:
    async with admin() as (client, view):
        number = view.open()
        answer = await client.delete(f"/sessions/{number}?code=4001&reason=over%20now", headers=CSRF)
        assert answer.status == 202
        assert await answer.json() == {"id": number, "code": 4001, "reason": "over now"}
        assert view.ended == [(number, 4001, "over now")]
        again = await client.delete(f"/sessions/{number}", headers=CSRF)
        assert again.status == 404


async def test_a_session_is_closed_with_1008_unless_told_otherwise() -> None:
    async with admin() as (client, view):
        number = view.open()
        await client.delete(f"/sessions/{number}", headers=CSRF)
        assert view.ended == [(number, 1008, "Closed by an administrator")]


@pytest.mark.parametrize(
    "code",
    [
        "1001",
        "1005",
        "1006",
        "1015",
        "999",
        "2999",
        "5000",
        "abc",
        "",
        "+1000",
        "01000",
        "\uff11\uff10\uff10\uff10",
    ],
)
async def test_a_code_that_may_not_be_sent_is_refused(code: str) -> None:
    async with admin() as (client, view):
        number = view.open()
        answer = await client.delete(f"/sessions/{number}", params={"code": code}, headers=CSRF)
        assert answer.status == 400
        assert (await answer.json(content_type=None))["parameter"] == "code"
        assert view.ids == [number]


@pytest.mark.parametrize("reason", ["x" * 124, "ü" * 62, "a\nb", "\x00"])
async def test_a_reason_that_does_not_fit_a_close_frame_is_refused(reason: str) -> None:
    async with admin() as (client, view):
        number = view.open()
        answer = await client.delete(f"/sessions/{number}", params={"reason": reason}, headers=CSRF)
        assert answer.status == 400
        assert (await answer.json(content_type=None))["parameter"] == "reason"
        assert view.ids == [number]


@pytest.mark.parametrize("reason", ["x" * 123, "ü" * 61])
async def test_a_reason_of_123_bytes_fits(reason: str) -> None:
    async with admin() as (client, view):
        number = view.open()
        assert (
            await client.delete(f"/sessions/{number}", params={"reason": reason}, headers=CSRF)
        ).status == 202
        assert view.ended[0][2] == reason


async def test_an_empty_reason_is_none() -> None:
    async with admin() as (client, view):
        number = view.open()
        answer = await client.delete(f"/sessions/{number}?reason=", headers=CSRF)
        assert (await answer.json())["reason"] == view.ended[0][2] == "Closed by an administrator"


async def test_a_misspelt_parameter_ends_nothing() -> None:
    async with admin() as (client, view):
        number = view.open()
        answer = await client.delete(f"/sessions/{number}?cod=1012", headers=CSRF)
        assert answer.status == 400
        assert (await answer.json(content_type=None))["parameter"] == "cod"
        assert view.ids == [number]


@pytest.mark.parametrize("number", ["zz", "ABCDEF", "1" * 65, "0x1", "-1", "%00"])
async def test_what_is_no_id_is_no_session(number: str) -> None:
    async with admin() as (client, _):
        assert (await client.delete(f"/sessions/{number}", headers=CSRF)).status == 404


async def test_a_session_whose_forwarder_cannot_be_told_goes_on_and_is_no_404() -> None:
    async with admin() as (client, view):
        number = view.open()
        view.unheard = True
        answer = await client.delete(f"/sessions/{number}", headers=CSRF)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert "goes on" in (await answer.json())["detail"]
        view.unheard = False
        assert (await client.delete(f"/sessions/{number}", headers=CSRF)).status == 202


async def test_all_sessions_of_a_user_who_was_signed_out_are_closed_and_no_others() -> None:
    async with admin() as (client, view):
        await client.get("/sessions")  # what is told is read anew, not what was read for this
        mine, others = [view.open(user="ada") for _ in range(3)], view.open(user="grace")
        answer = await client.delete("/sessions?user=ada&code=1012&reason=signed%20out", headers=CSRF)
        assert answer.status == 202
        assert await answer.json() == {"closed": 3, "code": 1012, "reason": "signed out"}
        assert view.ended == [(number, 1012, "signed out") for number in mine]
        assert view.ids == [others]
        again = await client.delete("/sessions?user=ada", headers=CSRF)
        assert (again.status, (await again.json())["closed"]) == (202, 0)


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("", None),
        ("code=1012", None),
        ("users=ada", "users"),
        ("limit=1", "limit"),
        ("user=ada&code=7", "code"),
        ("id=", None),  # a variable of a script that is not set
        ("id=&minAge=0&minIdle=0", None),
        ("user=grace&user=ada", "user"),
    ],
)
async def test_a_slip_closes_nobodys_session(query: str, parameter: str | None) -> None:
    async with admin() as (client, view):
        number = view.open(user="ada")
        answer = await client.delete(f"/sessions?{query}", headers=CSRF)
        assert (answer.status, (await answer.json()).get("parameter")) == (400, parameter)
        assert (await client.delete("/sessions?user=ada")).status == 403
        assert view.ids == [number]


async def test_an_order_waits_until_the_forwarder_has_room_for_it() -> None:
    async with admin() as (client, view):
        number, view.unheard = view.open(user="ada"), True
        asyncio.get_running_loop().call_later(0.05, setattr, view, "unheard", False)
        answer = await client.delete("/sessions?user=ada", headers=CSRF)
        assert (answer.status, (await answer.json())["closed"]) == (202, 1)
        assert number not in view.ids


async def test_orders_wait_as_long_as_their_forwarder_takes_one_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sessionsapi, "_PATIENCE", 0.2)
    async with admin() as (client, view):
        for _ in range(10):
            view.open(user="ada")
        heard_at = 0.0

        def end_session(session_id: str, code: int, reason: str) -> bool:
            nonlocal heard_at
            now = asyncio.get_running_loop().time()
            if now < heard_at + 0.05:
                raise Unheard
            heard_at = now
            return type(view).end_session(view, session_id, code, reason)

        monkeypatch.setattr(view, "end_session", end_session)
        answer = await client.delete("/sessions?user=ada", headers=CSRF)
        assert (answer.status, (await answer.json())["closed"]) == (202, 10)


async def test_how_many_of_several_sessions_could_not_be_told_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sessionsapi, "_PATIENCE", 0.02)
    async with admin() as (client, view):
        view.open(user="ada")
        view.unheard = True
        answer = await client.delete("/sessions?user=ada", headers=CSRF)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert (await answer.json())["detail"].startswith("Closed 0; 1 go on")


async def test_draining_twice_is_draining_once() -> None:
    async with admin() as (client, view):
        view.open()
        for _ in range(2):
            answer = await client.post("/drain", headers=CSRF)
            assert (answer.status, await answer.json()) == (202, {"draining": True, "sessions": 1})


async def test_capacity_has_the_shape_of_the_facts() -> None:
    view = FakeView(config(websocket_proxy=WebSocketProxy(max_sessions_per_app=10)), sessions=8)
    async with admin(view) as (client, _):
        body = await (await client.get("/capacity")).json()
        assert body["instance"] == {
            "name": view.capacity().name,
            "inFlight": 8,
            "max": 10,
            "level": "warning",
            "draining": False,
        }
        assert body["cluster"] == {
            "inFlight": 8,
            "max": 10,
            "instances": 1,
            "reporting": 1,
            "level": "warning",
        }
        assert await (await client.get("/api/capacity")).json() == body
        assert "cluster" not in await (await client.get("/capacity?scope=instance")).json()
        assert "instance" not in await (await client.get("/capacity?scope=cluster")).json()
        assert (await client.get("/capacity?scope=world")).status == 400


async def test_the_configuration_is_shown_with_sources_and_without_secrets() -> None:
    async with admin(admin_token="hush-hush-hush") as (client, _):
        answer = await client.get("/config", headers={"Authorization": "Bearer hush-hush-hush"})
        text = await answer.text()
        assert "hush" not in text
        rows = {row["key"]: row for row in json.loads(text)["values"]}
        assert rows["websocketProxy.maxSessionsPerApp"]["source"] == "file"


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nothing", 404), ("GET", "/static/none.js", 404)]
)
async def test_errors_are_problem_details(method: str, path: str, status: int) -> None:
    async with admin() as (client, _):
        answer = await client.request(method, path)
        assert answer.status == status
        assert answer.content_type == "application/problem+json"
        body = await answer.json(content_type=None)
        assert body["status"] == status
        assert body["type"] == "about:blank"
        assert path not in body["detail"]


async def test_a_method_that_is_not_known_names_those_that_are() -> None:
    async with admin() as (client, _):
        answer = await client.put("/drain", headers=CSRF)
        assert answer.status == 405
        assert answer.headers["Allow"] == "POST"
        assert answer.content_type == "application/problem+json"


async def test_errors_of_metrics_have_the_pools_words() -> None:
    async with admin() as (client, _):
        answer = await client.get("/metrics/application")
        assert (answer.status, await answer.text()) == (404, "Not available paths to consume\n")
        answer = await client.post("/metrics")
        assert (answer.status, await answer.text()) == (405, "HTTP method [POST] not allowed\n")
        assert answer.headers["Allow"] == "GET,HEAD"


async def test_every_answer_forbids_scripts_and_frames_of_others() -> None:
    async with admin() as (client, _):
        for path in ("/", "/sessions", "/nothing", "/static/status.js"):
            answer = await client.get(path)
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
            assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_answers_with_data_are_never_kept() -> None:
    async with admin() as (client, _):
        for path in ("/sessions", "/capacity", "/config", "/readyz", "/metrics", "/metrics/x", "/nothing"):
            assert (await client.get(path)).headers["Cache-Control"] == "no-store"
        assert (await client.post("/metrics")).headers["Cache-Control"] == "no-store"


async def test_files_are_pinned_by_the_page_and_kept_for_ever() -> None:
    async with admin() as (client, _):
        page = await (await client.get("/")).text()
        start = page.index("static/status.css?v=")
        address = page[start : page.index('"', start)]
        answer = await client.get("/" + address)
        assert "immutable" in answer.headers["Cache-Control"]
        again = await client.get("/" + address, headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status == 304
        unpinned = await client.get("/static/status.css")
        assert "immutable" not in unpinned.headers["Cache-Control"]


@pytest.mark.parametrize(
    ("known", "status"),
    [
        ("*", 304), ("{}", 304), ("W/{}", 304), ('"other", {}', 304), ('"other"W/', 200), ('"*"', 200),
        ("x{}", 200), ('"other,"{}', 200), ("", 200),
    ],
)  # fmt: skip
async def test_a_file_is_sent_again_unless_it_is_among_those_that_are_there(known: str, status: int) -> None:
    async with admin() as (client, _):
        tag = (await client.get("/static/status.css")).headers["ETag"]
        answer = await client.get("/static/status.css", headers={"If-None-Match": known.format(tag)})
        assert answer.status == status


async def test_the_page_has_no_inline_script_or_style() -> None:
    async with admin() as (client, _):
        page = await (await client.get("/")).text()
        assert "<style" not in page
        assert " style=" not in page
        assert "<script>" not in page
        assert " onclick" not in page


async def test_the_files_of_the_pages_load_nothing_from_elsewhere() -> None:
    for folder in ("src/bascule/admin/static", "src/bascule/demo/static"):
        for file in (ROOT / folder).iterdir():
            text = file.read_text().replace("http://www.w3.org/2000/svg", "")
            assert "https://" not in text, file
            assert "http://" not in text, file


class Watcher:
    """Reads an event stream."""

    def __init__(self, lines: asyncio.StreamReader) -> None:
        self.lines = lines

    async def next(self) -> tuple[str, dict[str, object]]:
        name = (await self.lines.readline()).decode().removeprefix("event: ").strip()
        data = json.loads((await self.lines.readline()).decode().removeprefix("data: "))
        assert await self.lines.readline() == b"\n"
        return name, data


async def test_a_watcher_gets_the_hour_and_then_snapshots() -> None:
    view = FakeView(config(), sessions=7)
    async with admin(view) as (client, _), client.get("/events") as answer:
        assert answer.content_type == "text/event-stream"
        watcher = Watcher(answer.content)  # type: ignore[arg-type]
        name, hour = await watcher.next()
        assert name == "history"
        assert hour["inFlight"] == [7]
        name, now = await watcher.next()
        assert name == "snapshot"
        assert now["instance"]["inFlight"] == 7  # type: ignore[index]
        assert sum(now["kinds"].values()) == 7  # type: ignore[attr-defined]
        assert [row["slot"] for row in now["forwarders"]] == [0, 1]  # type: ignore[attr-defined]
        assert now["durations"]["quantiles"]["0.5"] is None  # type: ignore[index]


async def test_a_watcher_gets_the_hour_again_when_the_clock_is_set_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "SAMPLE_EVERY", 0.05)
    monkeypatch.setattr(events, "_SNAPSHOT_EVERY", 0.05)
    clock = [1000.0]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    async with admin() as (client, _), client.get("/events") as answer:
        watcher = Watcher(answer.content)  # type: ignore[arg-type]
        await watcher.next()  # the hour as it was
        clock[0] = 20.0
        async with asyncio.timeout(5):
            while (told := await watcher.next())[0] != "history":
                assert told[0] in ("snapshot", "sample")
        at = told[1]["at"]
        assert isinstance(at, list)
        assert at == sorted(at)
        assert at[-1] == 20.0


async def test_watchers_share_one_reading_and_nobody_reads_without_them() -> None:
    view = FakeView(config(), sessions=3)
    async with admin(view) as (client, _):
        assert view.reads == 0
        answers = [await client.get("/events") for _ in range(8)]
        watchers = [Watcher(answer.content) for answer in answers]  # type: ignore[arg-type]
        for watcher in watchers:
            await watcher.next()
            await watcher.next()
        assert view.reads <= 3
        for answer in answers:
            answer.close()


async def test_too_many_watchers_are_asked_to_come_back() -> None:
    async with admin() as (client, _):
        answers = [await client.get("/events") for _ in range(32)]
        refused = await client.get("/events")
        assert refused.status == 503
        assert refused.headers["Retry-After"]
        for answer in answers:
            answer.close()


async def test_closing_the_listener_lets_watchers_go() -> None:
    async with admin() as (client, _):
        answer = await client.get("/events")
        watcher = Watcher(answer.content)  # type: ignore[arg-type]
        await watcher.next()
        await asyncio.wait_for(client.server.close(), 5)
        answer.close()
