"""The opening handshake of RFC 6455 §4 on both sides; numbers in ids are those of the attack list."""

from __future__ import annotations

import base64

import pytest

from bascule.errors import RequestRefused
from bascule.protocol.handshake import (
    ALL_RSV,
    RSV1,
    Agreement,
    Offer,
    accept_value,
    check_request,
    check_response,
    refusal_subprotocol,
    switching_protocols,
    upgrade_request,
    wants_websocket,
)
from bascule.protocol.http1 import RequestHead, ResponseHead, parse_request_head, parse_response_head

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
"""The key of RFC 6455 §1.3."""

Fields = list[tuple[bytes, bytes]]

GOOD: Fields = [
    (b"Host", b"front"),
    (b"Upgrade", b"websocket"),
    (b"Connection", b"Upgrade"),
    (b"Sec-WebSocket-Version", b"13"),
    (b"Sec-WebSocket-Key", KEY),
]


def without(name: bytes, fields: Fields = GOOD) -> Fields:
    return [field for field in fields if field[0].lower() != name.lower()]


def replaced(name: bytes, *values: bytes) -> Fields:
    return [*without(name), *((name, value) for value in values)]


def asked(fields: Fields, method: bytes = b"GET", minor: int = 1) -> RequestHead:
    return RequestHead(method, b"/", minor, fields)


# -- the browser's side -------------------------------------------------------------------------


def test_the_accept_value_of_the_rfc() -> None:
    assert accept_value(KEY) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_a_browsers_handshake_is_taken() -> None:
    offer = check_request(
        asked(
            [
                *GOOD,
                (b"Origin", b"https://front"),
                (b"Sec-WebSocket-Protocol", b"streamlit, token ,"),
                (b"Sec-WebSocket-Protocol", b"third"),
                (b"Sec-WebSocket-Extensions", b"permessage-deflate; client_max_window_bits, X-Other"),
            ]
        )
    )
    assert offer == Offer(
        key=KEY,
        subprotocols=(b"streamlit", b"token", b"third"),
        extensions=frozenset({b"permessage-deflate", b"x-other"}),
        host=b"front",
        origin=b"https://front",
    )


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(replaced(b"Connection", b"keep-alive, Upgrade"), id="connection-list"),
        pytest.param(replaced(b"Connection", b"keep-alive", b"upgrade"), id="connection-lines"),
        pytest.param(replaced(b"Upgrade", b"WebSocket"), id="upgrade-case"),
        pytest.param([*GOOD, (b"Content-Length", b"0")], id="content-length-0"),
        pytest.param([*GOOD, (b"Expect", b"100-continue")], id="27-expect"),
        pytest.param(without(b"Origin"), id="no-origin"),
    ],
)
def test_harmless_variants_are_taken(fields: Fields) -> None:
    assert check_request(asked(fields)).key == KEY


def test_without_an_origin_there_is_none() -> None:
    assert check_request(asked(GOOD)).origin is None


def test_origins_on_two_lines_are_judged_together() -> None:
    # One value no allow-list knows, instead of whichever line a parser happens to take.
    assert check_request(asked([*GOOD, (b"Origin", b"a"), (b"Origin", b"b")])).origin == b"a, b"


REFUSED = [
    pytest.param(asked(without(b"Host")), 400, id="1-no-host"),
    pytest.param(asked(replaced(b"Host", b"a", b"b")), 400, id="1-two-hosts"),
    pytest.param(asked(replaced(b"Host", b"")), 400, id="1-empty-host"),
    pytest.param(asked(replaced(b"Host", b"a b")), 400, id="1-no-valid-host"),
    pytest.param(asked(without(b"Connection")), 400, id="2-no-connection"),
    pytest.param(asked(replaced(b"Connection", b"keep-alive")), 400, id="2-keep-alive"),
    pytest.param(asked(replaced(b"Connection", b"notupgrade")), 400, id="3-notupgrade"),
    pytest.param(asked(replaced(b"Connection", b"upgrade-insecure")), 400, id="3-prefix"),
    pytest.param(asked(without(b"Upgrade")), 400, id="4-no-upgrade"),
    pytest.param(asked(replaced(b"Upgrade", b"websocketX")), 400, id="4-websocketX"),
    pytest.param(asked(replaced(b"Upgrade", b"h2c")), 400, id="4-h2c"),
    pytest.param(asked(replaced(b"Upgrade", b"h2c, websocket")), 400, id="4-h2c-and-websocket"),
    pytest.param(asked(replaced(b"Upgrade", b"websocket", b"websocket")), 400, id="4-two-upgrades"),
    pytest.param(asked(replaced(b"Sec-WebSocket-Version", b"7")), 426, id="5-version-7"),
    pytest.param(asked(replaced(b"Sec-WebSocket-Version", b"8")), 426, id="5-version-8"),
    pytest.param(asked(replaced(b"Sec-WebSocket-Version", b"12")), 426, id="5-version-12"),
    pytest.param(asked(replaced(b"Sec-WebSocket-Version", b"14")), 426, id="5-version-14"),
    pytest.param(asked(replaced(b"Sec-WebSocket-Version", b"013")), 426, id="5-version-013"),
    pytest.param(asked(replaced(b"Sec-WebSocket-Version", b"13, 8")), 426, id="5-version-list"),
    pytest.param(asked(without(b"Sec-WebSocket-Version")), 426, id="5-no-version"),
    pytest.param(asked(replaced(b"Sec-WebSocket-Version", b"13", b"13")), 426, id="5-two-versions"),
    pytest.param(asked(without(b"Sec-WebSocket-Key")), 400, id="6-no-key"),
    pytest.param(asked(replaced(b"Sec-WebSocket-Key", b"")), 400, id="6-empty-key"),
    pytest.param(asked(replaced(b"Sec-WebSocket-Key", base64.b64encode(bytes(15)))), 400, id="6-15-bytes"),
    pytest.param(asked(replaced(b"Sec-WebSocket-Key", base64.b64encode(bytes(17)))), 400, id="6-17-bytes"),
    pytest.param(asked(replaced(b"Sec-WebSocket-Key", b"A" * 24)), 400, id="6-18-bytes"),
    pytest.param(asked(replaced(b"Sec-WebSocket-Key", b"!" * 22 + b"==")), 400, id="6-no-base64"),
    pytest.param(asked(replaced(b"Sec-WebSocket-Key", b"A" * 21 + b"B==")), 400, id="6-loose-bits"),
    pytest.param(asked(replaced(b"Sec-WebSocket-Key", KEY, KEY)), 400, id="6-two-keys"),
    pytest.param(asked(replaced(b"Sec-WebSocket-Key", KEY[:10] + b"\r\n" + KEY[10:])), 400, id="6-CRLF"),
    pytest.param(asked(GOOD, b"POST"), 405, id="7-POST"),
    pytest.param(asked(GOOD, b"PUT"), 405, id="7-PUT"),
    pytest.param(asked(GOOD, b"CONNECT"), 405, id="7-CONNECT"),
    pytest.param(asked(GOOD, b"HEAD"), 405, id="7-HEAD"),
    pytest.param(asked(GOOD, b"get"), 405, id="7-lower-case"),
    pytest.param(asked(GOOD, minor=0), 400, id="8-HTTP/1.0"),
    pytest.param(asked([*GOOD, (b"Content-Length", b"5")]), 400, id="9-content-length"),
    pytest.param(asked([*GOOD, (b"Transfer-Encoding", b"chunked")]), 400, id="10-chunked"),
    pytest.param(
        asked([*GOOD, (b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked")]), 400, id="11-both"
    ),
    pytest.param(asked([*GOOD, (b"Content-Length", b"0"), (b"Content-Length", b"0")]), 400, id="12-twice"),
    pytest.param(asked([*GOOD, (b"Content-Length", b"-1")]), 400, id="12-negative"),
    pytest.param(asked([*GOOD, (b"Content-Length", b"+0")]), 400, id="12-plus"),
    pytest.param(asked([*GOOD, (b"Content-Length", b"00")]), 400, id="12-00"),
    pytest.param(asked([*GOOD, (b"Content-Length", b"9" * 40)]), 400, id="12-huge"),
    pytest.param(asked([*GOOD, (b"Content-Length", b"")]), 400, id="12-empty"),
]


@pytest.mark.parametrize(("head", "status"), REFUSED)
def test_a_wrong_handshake_is_refused(head: RequestHead, status: int) -> None:
    with pytest.raises(RequestRefused) as refused:
        check_request(head)
    assert refused.value.status == status


def test_426_says_which_version_is_spoken() -> None:
    with pytest.raises(RequestRefused) as refused:
        check_request(asked(replaced(b"Sec-WebSocket-Version", b"8")))
    assert refused.value.fields == ((b"Sec-WebSocket-Version", b"13"), (b"Upgrade", b"websocket"))


def test_405_says_which_method_is_allowed() -> None:
    with pytest.raises(RequestRefused) as refused:
        check_request(asked(GOOD, b"POST"))
    assert refused.value.fields == ((b"Allow", b"GET"),)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([b"websocket"], True),
        ([b"WebSocket"], True),
        ([b"h2c, websocket"], True),
        ([b"h2c", b"websocket"], True),
        ([b"h2c"], False),
        ([b"websocketX"], False),
        ([], False),
    ],
)
def test_whoever_asks_for_a_websocket_however_badly_is_recognised(values: list[bytes], wanted: bool) -> None:
    assert wants_websocket(asked(replaced(b"Upgrade", *values))) is wanted


@pytest.mark.parametrize(
    ("offered", "names"),
    [
        (b"permessage-deflate; server_max_window_bits=99", {b"permessage-deflate"}),
        (b"permessage-deflate; server_max_window_bits=\xff", {b"permessage-deflate"}),
        (b", ,;x, a", {b"a"}),
        (b", ".join(b"x%d" % number for number in range(100)), {b"x%d" % number for number in range(100)}),
    ],
    ids=["bad-bits", "no-ascii", "empty-elements", "100-extensions"],
)
def test_offered_extensions_are_the_upstreams_to_judge(offered: bytes, names: set[bytes]) -> None:  # 28
    assert check_request(asked([*GOOD, (b"Sec-WebSocket-Extensions", offered)])).extensions == names


# -- the upstream's side -------------------------------------------------------------------------

OURS = base64.b64encode(b"sixteen bytes ok")
OFFER = Offer(KEY, (b"a", b"b"), frozenset({b"permessage-deflate", b"x-other"}), b"front", None)
ANSWER: Fields = [
    (b"Upgrade", b"websocket"),
    (b"Connection", b"Upgrade"),
    (b"Sec-WebSocket-Accept", accept_value(OURS)),
]


def agreed(*fields: tuple[bytes, bytes], base: Fields = ANSWER) -> Agreement | None:
    return check_response(ResponseHead(1, 101, b"", [*base, *fields]), OFFER, OURS)


def test_a_true_101_is_an_agreement() -> None:
    assert agreed() == Agreement(0, 0, ())


@pytest.mark.parametrize(
    ("name", "values", "is_taken"),
    [
        (b"Upgrade", [b"WebSocket"], True),
        (b"Upgrade", [b"h2c"], False),
        (b"Upgrade", [b"websocket, h2c"], False),
        (b"Upgrade", [b"websocket", b"websocket"], False),
        (b"Upgrade", [], False),
        (b"Connection", [b"upgrade"], True),
        (b"Connection", [b"keep-alive, Upgrade"], True),
        (b"Connection", [b"keep-alive"], False),
        (b"Connection", [], False),
    ],
)
def test_a_101_says_that_it_upgrades_in_any_spelling(
    name: bytes, values: list[bytes], is_taken: bool
) -> None:
    base = [*without(name, ANSWER), *((name, value) for value in values)]
    assert (agreed(base=base) is not None) is is_taken


def test_a_101_of_http_1_0_is_none() -> None:
    assert check_response(ResponseHead(0, 101, b"", ANSWER), OFFER, OURS) is None


def test_what_the_upstream_chose_goes_to_the_browser_as_it_was_said() -> None:
    chosen = [
        (b"sec-websocket-protocol", b"b"),
        (b"sec-websocket-extensions", b"permessage-deflate; server_no_context_takeover"),
    ]
    agreement = agreed(*chosen)
    assert agreement == Agreement(
        RSV1,
        0,
        (
            (b"Sec-WebSocket-Protocol", b"b"),
            (b"Sec-WebSocket-Extensions", b"permessage-deflate; server_no_context_takeover"),
        ),
    )


def test_the_reserved_bits_are_those_of_the_rfc() -> None:
    assert (RSV1, ALL_RSV) == (0b0100_0000, 0b0111_0000)


def test_deflate_marks_first_frames_only_and_an_unknown_extension_may_mark_any() -> None:
    deflate = agreed((b"Sec-WebSocket-Extensions", b"permessage-deflate"))
    other = agreed((b"Sec-WebSocket-Extensions", b"permessage-deflate, x-other"))
    assert deflate is not None
    assert other is not None
    assert (deflate.rsv_first, deflate.rsv_continuation) == (RSV1, 0)
    assert (other.rsv_first, other.rsv_continuation) == (ALL_RSV, ALL_RSV)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(without(b"Upgrade", ANSWER), id="31-no-upgrade"),
        pytest.param([*without(b"Upgrade", ANSWER), (b"Upgrade", b"h2c")], id="31-h2c"),
        pytest.param([*ANSWER, (b"Upgrade", b"websocket")], id="31-two-upgrades"),
        pytest.param(without(b"Connection", ANSWER), id="31-no-connection"),
        pytest.param([*without(b"Connection", ANSWER), (b"Connection", b"close")], id="31-close"),
        pytest.param(without(b"Sec-WebSocket-Accept", ANSWER), id="32-no-accept"),
        pytest.param(
            [*without(b"Sec-WebSocket-Accept", ANSWER), (b"Sec-WebSocket-Accept", accept_value(KEY))],
            id="32-accept-for-the-browsers-key",
        ),
        pytest.param([*ANSWER, (b"Sec-WebSocket-Accept", accept_value(OURS))], id="32-two-accepts"),
        pytest.param([*ANSWER, (b"Sec-WebSocket-Protocol", b"c")], id="35-subprotocol-not-offered"),
        pytest.param([*ANSWER, (b"Sec-WebSocket-Protocol", b"A")], id="35-other-case"),
        pytest.param([*ANSWER, (b"Sec-WebSocket-Protocol", b"a, b")], id="35-two-in-one-line"),
        pytest.param(
            [*ANSWER, (b"Sec-WebSocket-Protocol", b"a"), (b"Sec-WebSocket-Protocol", b"b")], id="35-two-lines"
        ),
        pytest.param([*ANSWER, (b"Sec-WebSocket-Extensions", b"x-none")], id="36-extension-not-offered"),
        pytest.param(
            [*ANSWER, (b"Sec-WebSocket-Extensions", b"x-other, X-Other; a=1")], id="36-extension-twice"
        ),
    ],
)
def test_a_101_that_does_not_answer_us_is_no_agreement(fields: Fields) -> None:
    assert agreed(base=fields) is None


# -- what we write ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "echoed"),
    [((b"streamlit", b"secret-token"), b"streamlit"), ((), None), ((b"not a token", b"b"), None)],
)
def test_a_refusal_echoes_the_first_subprotocol_and_never_the_token(
    offered: tuple[bytes, ...], echoed: bytes | None
) -> None:
    assert refusal_subprotocol(Offer(KEY, offered, frozenset(), b"h", None)) == echoed


def test_our_101_answers_the_browsers_key() -> None:
    head = parse_response_head(switching_protocols(KEY, [(b"Sec-WebSocket-Protocol", b"a")]), 10)
    assert head.status == 101
    assert head.fields == [
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        (b"Sec-WebSocket-Protocol", b"a"),
    ]


def test_the_upstream_gets_the_travelling_fields_and_a_handshake_of_ours() -> None:
    travelling = [
        (b"Host", b"front"),
        (b"Cookie", b"a=b"),
        (b"Sec-WebSocket-Protocol", b"a, b"),
    ]
    head = parse_request_head(upgrade_request(b"/a%2Fb?q", OURS, travelling), 20)
    assert (head.method, head.target) == (b"GET", b"/a%2Fb?q")
    assert head.fields == [
        (b"Host", b"front"),
        (b"Cookie", b"a=b"),
        (b"Sec-WebSocket-Protocol", b"a, b"),
        (b"Connection", b"Upgrade"),
        (b"Upgrade", b"websocket"),
        (b"Sec-WebSocket-Version", b"13"),
        (b"Sec-WebSocket-Key", OURS),
    ]


def test_a_handshake_we_write_passes_our_own_check() -> None:
    check_request(parse_request_head(upgrade_request(b"/", OURS, [(b"Host", b"h")]), 20))
