"""Which requests are upgrades."""

from __future__ import annotations

import pytest

from bascule.configuration.config import Limits
from bascule.gateway.listening.upgrade import upgrade_head
from bascule.protocol.http1 import BadHead


@pytest.mark.parametrize(("field", "is_upgrade"), [(b"Upgrade: WebSocket", True), (b"uPGRADE:h2c", True),
    (b"Upgrade-Insecure-Requests: 1", False), (b"Connection: upgrade", False)])  # fmt: skip
@pytest.mark.parametrize("fault", [b"Cookie: " + b"a" * 40_000, b"no field at all"])
def test_what_is_wrong_with_the_request_for_a_page_is_not_a_refused_upgrade(
    field: bytes, is_upgrade: bool, fault: bytes
) -> None:
    head = b"GET /lab HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n" + fault + b"\r\n\r\n"

    assert isinstance(upgrade_head(head, Limits()), BadHead if is_upgrade else type(None))
