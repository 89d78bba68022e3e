import asyncio
from contextlib import aclosing

import pytest

from bascule.demo.shell import HELP, Closing, Interpreter


async def run(line: str, who: str = "10.0.0.1") -> list[str | Closing]:
    return [part async for part in Interpreter(who, lambda: 5.0).run(line)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", []),
        ("   ", []),
        ("help", [HELP]),
        ("echo a  'b  c'", ["a b  c\n"]),
        ("whoami", ["10.0.0.1\n"]),
        ("uptime", ["this session: 0 s\n"]),
        ("nonsense", ["nonsense: not found, try help\n"]),
        ("echo 'open", ["No closing quotation\n"]),
        ("exit", [Closing(1000, "exit")]),
        ("close 4001", [Closing(4001, "as you wish")]),
        ("sleep 0", []),
        ("big 3", ["xxx\n"]),
    ],
)
async def test_a_command_answers(line: str, expected: list[str | Closing]) -> None:
    assert await run(line) == expected


@pytest.mark.parametrize("code", ["1005", "1006", "1015", "999", "5000", "9" * 400])
async def test_a_code_that_may_not_be_sent_is_not_sent(code: str) -> None:
    assert not any(isinstance(part, Closing) for part in await run(f"close {code}"))


@pytest.mark.parametrize("line", ["$(id)", "`id`", "/bin/sh", "cat /etc/passwd", "echo hi; id", "ls | sh"])
async def test_nothing_is_ever_run(line: str) -> None:
    assert "uid=" not in "".join(str(part) for part in await run(line))


async def test_a_flood_has_as_many_lines_as_it_was_asked_for() -> None:
    text = "".join(str(part) for part in await run("flood 450"))
    assert text.count("dull thing\n") == 450
    assert text.endswith("450 lines in 0.00 s\n")


async def test_the_size_of_what_it_makes_is_bounded() -> None:
    assert len(str((await run("big 99999999999"))[0])) == 64_000_001
    assert len(await run("flood 99999999")) == 501


async def test_the_clock_ticks_until_it_is_stopped() -> None:
    async with aclosing(Interpreter("x").run("clock")) as ticks:
        assert str(await asyncio.wait_for(anext(ticks), 10)).count(":") == 2
