from pathlib import Path

import pytest

from bascule.configuration.endpoints import Endpoint, SocketFile
from tests.admin.support import CSRF, admin

TOKEN = "a-token-nobody-guesses"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
OPEN = [
    "/",
    "/metrics",
    "/healthz",
    "/readyz",
    "/openapi.json",
    "/static/status.css",
    "/capacity?scope=instance",
    "/api/capacity?scope=instance",
]
GUARDED = [
    "/status",
    "/sessions",
    "/config",
    "/capacity",
    "/capacity?scope=cluster",
    "/api/capacity",
    "/events",
]


@pytest.mark.parametrize("path", OPEN)
async def test_probes_scrapers_and_the_empty_page_need_no_token(path: str) -> None:
    async with admin(admin_token=TOKEN) as (client, _):
        assert (await client.get(path)).status == 200


@pytest.mark.parametrize("path", GUARDED)
async def test_everything_else_needs_the_token_where_one_is_configured(path: str) -> None:
    async with admin(admin_token=TOKEN) as (client, _):
        answer = await client.get(path)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.content_type == "application/problem+json"
        assert (await client.get(path, headers=BEARER)).status == 200


@pytest.mark.parametrize(
    "given", ["Bearer wrong", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer", f"Bearer  {TOKEN} x"]
)
async def test_a_wrong_token_opens_nothing(given: str) -> None:
    async with admin(admin_token=TOKEN) as (client, _):
        assert (await client.get("/sessions", headers={"Authorization": given})).status == 401


async def test_the_token_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    async with admin(admin_token_file=file) as (client, _):
        assert (await client.get("/sessions")).status == 401
        assert (await client.get("/sessions", headers=BEARER)).status == 200


@pytest.mark.parametrize("scheme", ["Bearer", "token"])
async def test_a_token_in_the_configuration_may_have_white_space_around_it(scheme: str) -> None:
    async with admin(admin_token=f" {TOKEN}\n") as (client, _):
        fields = {"Authorization": f"{scheme} {TOKEN}"}
        assert (await client.get("/sessions", headers=fields)).status == 200


@pytest.mark.parametrize("text", ["one two", "one\ttwo", "grün", "a:b"])
async def test_a_token_may_have_any_character_that_a_request_can_send(text: str) -> None:
    async with admin(admin_token=text) as (client, _):
        fields = {"Authorization": f"Bearer {text}"}
        assert (await client.get("/sessions", headers=fields)).status == 200


@pytest.mark.parametrize("path", GUARDED)
async def test_a_listener_others_can_reach_answers_nothing_guarded_without_a_token(path: str) -> None:
    async with admin(admin=Endpoint("0.0.0.0", 8081)) as (client, _):
        answer = await client.get(path, headers={"Host": "10.0.0.9:8081"})
        assert answer.status == 403
        assert "adminToken" in (await answer.json(content_type=None))["detail"]


async def test_a_path_that_nobody_serves_is_404_for_everybody() -> None:
    async with admin(admin=Endpoint("0.0.0.0", 8081)) as (client, _):
        assert (await client.get("/Metrics", headers={"Host": "10.0.0.9:8081"})).status == 404


async def test_a_name_that_others_may_reach_is_no_loopback() -> None:
    # Only `localhost` itself is the loopback everywhere; a name below it is what a resolver says.
    async with admin(admin=Endpoint("admin.localhost", 8081)) as (client, _):
        assert (await client.get("/sessions", headers={"Host": "admin.localhost:8081"})).status == 403


async def test_a_listener_others_can_reach_is_probed_and_scraped_by_any_name() -> None:
    async with admin(admin=Endpoint("0.0.0.0", 8081)) as (client, _):
        for path in ("/metrics", "/healthz", "/readyz", "/capacity?scope=instance"):
            assert (await client.get(path, headers={"Host": "10.0.0.9:8081"})).status == 200


async def test_a_listener_others_can_reach_is_opened_by_its_token() -> None:
    async with admin(admin=Endpoint("0.0.0.0", 8081), admin_token=TOKEN) as (client, _):
        assert (await client.get("/sessions", headers={"Host": "pod:8081", **BEARER})).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.org", "evil.org:8081", "127.0.0.1.nip.io", "localhost.evil.org", "a.localhost", "10.0.0.1:8081"],
)
async def test_a_foreign_name_for_the_loopback_is_refused(host: str) -> None:
    """DNS rebinding: the page's own name points at 127.0.0.1."""
    async with admin() as (client, _):
        for path in ("/", "/sessions", "/metrics"):
            assert (await client.get(path, headers={"Host": host})).status == 421


@pytest.mark.parametrize(
    "host", ["localhost:8081", "LOCALHOST.", "127.0.0.1:8081", "127.8.8.8", "[::1]:8081", "localhost"]
)
async def test_every_name_of_the_loopback_is_answered(host: str) -> None:
    async with admin() as (client, _):
        assert (await client.get("/sessions", headers={"Host": host})).status == 200


async def test_a_page_of_another_site_can_change_nothing() -> None:
    """CSRF: a form or an image of a foreign page sends no field of its own choosing."""
    async with admin() as (client, view):
        number = view.open()
        assert (await client.post("/drain")).status == 403
        assert (await client.post("/drain", data={"a": "b"})).status == 403
        assert (await client.delete(f"/sessions/{number}")).status == 403
        assert not view.draining
        assert view.ids == [number]


async def test_a_browser_that_says_cross_site_is_refused_even_with_the_field() -> None:
    async with admin() as (client, view):
        foreign = {"Sec-Fetch-Site": "cross-site", **CSRF}
        assert (await client.post("/drain", headers=foreign)).status == 403
        assert (await client.get("/sessions", headers=foreign)).status == 403
        assert (await client.get("/", headers=foreign)).status == 200, "following a link to the page is fine"
        assert not view.draining


async def test_the_field_or_the_token_lets_a_change_through() -> None:
    async with admin() as (client, view):
        assert (await client.post("/drain", headers=CSRF)).status == 202
        assert view.draining
    async with admin(admin_token=TOKEN) as (client, view):
        assert (await client.post("/drain", headers=CSRF)).status == 401
        assert (await client.post("/drain", headers=BEARER)).status == 202
        assert view.draining


@pytest.mark.parametrize(
    ("token", "host", "sent", "status"),
    [
        (None, "localhost", {}, 200),
        (None, "bascule.example", {}, 421),
        (None, "%2Frun%2Fadmin.sock", {}, 421),
        (TOKEN, "localhost", {}, 401),
        (TOKEN, "%2Frun%2Fadmin.sock", {}, 421),
        (TOKEN, "%2Frun%2Fadmin.sock", BEARER, 200),
        (TOKEN, "%2Frun%2Fadmin.sock", {"Authorization": "Bearer wrong"}, 421),
    ],
)
async def test_a_unix_socket_is_as_the_loopback_but_that_the_token_may_come_under_any_name(
    token: str | None, host: str, sent: dict[str, str], status: int
) -> None:
    async with admin(admin=SocketFile("/run/admin.sock"), admin_token=token) as (client, _):
        assert (await client.get("/sessions", headers={"Host": host, **sent})).status == status
