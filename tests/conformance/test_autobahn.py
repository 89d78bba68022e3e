"""Every Autobahn case has the same verdict through Bascule as it has directly.

Run on both ends: the suite as the browser in front of an echo server, and as the upstream behind an
echo client; each with the compiled hot path and with its pure twin. The suite gives a case one second, and a
busy machine may need it for itself: what differs is tried once more. A difference of the proxy's comes again.
"""

import asyncio
from collections.abc import Callable

import pytest

from tests.conformance.cases import BROWSER, DIFFERENCES, GROUPS, UPSTREAM
from tests.conformance.suite import Verdict, drive_cases, fuzz, run_fuzzing_upstream
from tests.support.bascule import RunningBascule
from tests.support.echo import run_echo
from tests.support.parts import missing

pytestmark = pytest.mark.timeout(240)

Start = Callable[..., RunningBascule]


def cases_of(side: str) -> list[str]:
    return [case for group in GROUPS if side in group.sides for case in group.cases]


def start_proxy(bascule: Start, upstream: str, hot: str) -> str:
    """Start the proxy with the hot path asked for, and return its address for WebSockets."""
    environment = {"BASCULE_PURE": "1"} if hot == "pure" else {}
    proxy = bascule({"routes": [{"name": "suite", "path": "/", "upstream": upstream}]}, **environment)
    if not proxy.metric("bascule_build_info", hot_path=hot):
        missing(f"the {hot} hot path is not built")
    return proxy.public_url.replace("http", "ws", 1)


def unexplained(direct: dict[str, Verdict], proxied: dict[str, Verdict], side: str) -> list[str]:
    """Return the cases that differ and are not in the table."""
    table = {row.case for row in DIFFERENCES if row.side == side}
    return [case for case in direct if case not in table and not direct[case].same_as(proxied[case])]


def judge(direct: dict[str, Verdict], proxied: dict[str, Verdict], side: str) -> None:
    """Demand equal verdicts, apart from the rows of the table, which must be as they say."""
    table = {row.case: row for row in DIFFERENCES if row.side == side}
    assert direct.keys() == proxied.keys()
    assert {
        case: (direct[case].pair, proxied[case].pair) for case in unexplained(direct, proxied, side)
    } == {}
    untrue = [
        row
        for case, row in table.items()
        if direct[case].pair != row.direct
        or proxied[case].pair not in {row.proxied, *([row.direct] if row.at_times else [])}
    ]
    assert untrue == []


@pytest.fixture(scope="module")
def echo_directly() -> dict[str, Verdict]:
    """The verdicts of the echo server alone."""
    with run_echo() as echo:
        return fuzz(echo.replace("http", "ws", 1), cases_of(BROWSER))


@pytest.mark.parametrize("hot", ["compiled", "pure"])
def test_the_suite_as_browser_sees_no_difference(
    bascule: Start, echo_directly: dict[str, Verdict], hot: str
) -> None:
    with run_echo() as echo:
        proxy = start_proxy(bascule, echo, hot)
        proxied = fuzz(proxy, cases_of(BROWSER))
        if again := unexplained(echo_directly, proxied, BROWSER):
            proxied |= fuzz(proxy, again)

    judge(echo_directly, proxied, BROWSER)


@pytest.fixture(scope="module")
def client_directly() -> dict[str, Verdict]:
    """The verdicts of the echo client alone."""
    return asyncio.run(
        verdicts_of_the_client(lambda origin: origin.replace("http", "ws", 1), cases_of(UPSTREAM))
    )


async def verdicts_of_the_client(front: Callable[[str], str], cases: list[str]) -> dict[str, Verdict]:
    with run_fuzzing_upstream(cases) as suite:
        await drive_cases(front(suite.origin))
        return suite.verdicts()


@pytest.mark.parametrize("hot", ["compiled", "pure"])
async def test_the_suite_as_upstream_sees_no_difference(
    bascule: Start, client_directly: dict[str, Verdict], hot: str
) -> None:
    def front(origin: str) -> str:
        return start_proxy(bascule, origin, hot)

    proxied = await verdicts_of_the_client(front, cases_of(UPSTREAM))
    if again := unexplained(client_directly, proxied, UPSTREAM):
        proxied |= await verdicts_of_the_client(front, again)

    judge(client_directly, proxied, UPSTREAM)
