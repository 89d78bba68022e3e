"""What the ingress calls a request is in its line of the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.bascule import run_bascule
from tests.support.proctree import gateways, kill
from tests.support.rawclient import upgrade
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.rawclient import Clients
    from tests.support.rawupstream import RawUpstream


def test_it_is_there_whatever_becomes_of_the_request_and_after_the_gateways_death(
    tmp_path: Path, upstream: RawUpstream, clients: Clients
) -> None:
    config = {
        "routes": [
            {"name": "lab", "path": "/lab", "upstream": upstream.url},
            {"name": "gone", "path": "/gone", "upstream": "http://127.0.0.1:9"},
        ],
        "trustedProxies": ["127.0.0.1"],
    }
    with run_bascule(tmp_path, config) as bascule:
        session, foreign, nowhere, plain = (clients(bascule.public_url) for _ in range(4))
        session.open(b"/lab", b"X-Request-ID: a-session")
        foreign.send(upgrade(b"/lab", b"X-Request-ID: a-stranger", b"Origin: http://elsewhere"))
        nowhere.send(upgrade(b"/nowhere", b"X-Request-ID: lost"))
        plain.send(b"GET /gone HTTP/1.1\r\nHost: front\r\nX-Request-ID: a-page\r\n\r\n")
        assert [refused.head().status for refused in (foreign, nowhere)] == [403, 404]
        assert plain.answer().status == 502
        kill(gateways(bascule)[0])
        eventually(lambda: bascule.in_flight_if_up == 1, 20, "another gateway has taken the session over")
        session.close()

        (ended,) = bascule.all_events("session ended", 1)
        assert ended["request_id"] == "a-session"
        refused = bascule.all_events("session refused", 2)
        assert [(line["request_id"], line["status"]) for line in refused] == [
            ("a-stranger", 403),
            ("lost", 404),
        ]
        (failed,) = bascule.all_events("request failed", 1)
        assert failed["request_id"] == "a-page"
