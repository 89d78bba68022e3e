"""What a route of JupyterHub says of its user and of its kind."""

from __future__ import annotations

import pytest

from bascule.policy.hubroutes import read_routespec
from bascule.vocabulary import Kind
from tests.policy.hub_tables import ALICE, hit, table


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (b"", Kind.JUPYTER),
        (b"/lab", Kind.JUPYTER),
        (b"/api/kernels/1/channels", Kind.JUPYTER),
        (b"/terminals/websocket/1", Kind.TERMINAL),
        (b"/api/terminals", Kind.TERMINAL),
        (b"/proxy/8501/_stcore/stream", Kind.APP),
        (b"/proxy/8501/terminals/1", Kind.APP),
        (b"/proxying", Kind.JUPYTER),
    ],
)
def test_on_a_users_server_the_path_tells_the_kind(path: bytes, kind: Kind) -> None:
    routes = table()
    routes.put("/user/alice", {"target": ALICE, "user": "alice"}, 0.0)

    assert hit(routes, b"/user/alice" + path).route.kind is kind


@pytest.mark.parametrize("name", ["proxy", "terminals"])
def test_the_name_of_a_user_tells_no_kind(name: str) -> None:
    routes = table()
    routes.put(f"/user/{name}", {"target": ALICE, "user": name}, 0.0)
    hosts = table(host_routing=True)
    hosts.put(f"/{name}/user/{name}", {"target": ALICE, "user": name}, 0.0)

    assert hit(routes, f"/user/{name}/lab".encode()).route.kind is Kind.JUPYTER
    assert hit(hosts, f"/user/{name}/terminals".encode(), name.encode()).route.kind is Kind.TERMINAL


@pytest.mark.parametrize("data", [{}, {"user": None}, {"user": 7}])
def test_what_belongs_to_nobody_is_an_app(data: dict[str, object]) -> None:
    routes = table()
    route = routes.put("/services/x", {"target": ALICE, **data}, 0.0)

    assert route.user is None
    assert hit(routes, b"/services/x/terminals").route.kind is Kind.APP


def test_a_route_is_found_by_the_key_of_any_of_its_spellings() -> None:
    routes, hosts = table("/user/ada/"), table("/Ada.example/user/Ada", host_routing=True)

    assert routes.known_keys() == [routes.key("user/ada")] == ["/user/ada"]
    assert hosts.known_keys() == [hosts.key("/ada.EXAMPLE/user/Ada")]
    route = hosts.by_key("/ada.example/user/Ada")
    assert route is not None
    assert route.routespec == "/Ada.example/user/Ada"
    assert routes.by_key("/user/grace") is None
    with pytest.raises(ValueError, match="No request has this path"):
        routes.key("/a/../b")


@pytest.mark.parametrize(("user", "known"), [("u" * 255, "u" * 255), (["ada"], None), (None, None)])
def test_a_user_is_a_name_and_nothing_else(user: object, known: str | None) -> None:
    assert table().put("/user/ada", {"target": ALICE, "user": user}, 0.0).user == known


def test_a_user_whose_name_is_too_long_is_refused() -> None:
    routes = table()
    with pytest.raises(ValueError, match="at most 255 characters"):
        routes.put("/user/ada", {"target": ALICE, "user": "u" * 256}, 0.0)
    assert len(routes) == 0


def test_a_route_knows_its_user_what_was_said_of_it_and_when() -> None:
    data = {"target": ALICE, "user": "alice", "server_name": "", "more": [1, {"a": None}]}

    route = table().put("/user/alice/", data, 12.5)

    assert (route.routespec, route.user, route.last_activity, route.data) == (
        "/user/alice", "alice", 12.5, data,
    )  # fmt: skip


def test_requests_of_one_kind_share_what_stands_for_their_route() -> None:
    routes = table()
    routes.put("/u", {"target": ALICE, "user": "u"}, 0.0)

    one, other, terminal = (hit(routes, raw).route for raw in (b"/u/a", b"/u/b", b"/u/terminals"))

    assert one is other
    assert one is not terminal


def test_a_route_has_no_more_segments_than_anybody_needs() -> None:
    read_routespec("/a" * 64)
    with pytest.raises(ValueError, match="at most 64 segments"):
        read_routespec("/a" * 65)
