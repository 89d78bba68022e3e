"""A line interpreter that feels like a shell and can do nothing: it has no access to the machine.

Rules of this file: it takes text and yields text, over time; it starts no process, opens no
file and evaluates nothing. Even if the demo listens on the loopback only, nothing typed into
it may ever reach a real shell.
"""

from __future__ import annotations

import asyncio
import shlex
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

__all__ = ["GREETING", "HELP", "PROMPT", "Closing", "Interpreter"]

GREETING: Final = "A pretend shell behind Bascule. Type help.\n"
PROMPT: Final = "$ "
_MOST_LINES: Final = 100_000
_LARGEST: Final = 1e12
"""Largest number that is accepted: the user may type inf."""
_LONGEST_SLEEP: Final = 3600.0
_FLOOD_CHUNK: Final = 200
"""Lines in a chunk of `flood`: a frame of about 11 kB, like those of a busy terminal."""

HELP: Final = """\
help            this text
echo WORDS      say them again
whoami          who the proxy says you are
date            the time at the upstream
uptime          how long this session has lasted
clock           tick every second until you press Ctrl-C
sleep SECONDS   say nothing for a while
flood LINES     print that many lines as fast as they go through
big BYTES       send one single frame of that size
close CODE      let the upstream close with that code
exit            let the upstream close with 1000
"""


@dataclass(frozen=True, slots=True)
class Closing:
    """The upstream is to close the session, as the user asked."""

    code: int
    reason: str


class Interpreter:
    """One shell session.

    Args:
        who: What `whoami` answers.
        clock: Monotonic seconds.
    """

    def __init__(self, who: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._who = who
        self._clock = clock
        self._started = clock()

    async def run(self, line: str) -> AsyncGenerator[str | Closing, None]:
        """Run one line; yield text to send, and `Closing` at the end if the line asks for it.

        Cancellation: safe; it is how Ctrl-C ends a command.
        """
        try:
            words = shlex.split(line)
        except ValueError as error:
            yield f"{error}\n"
            return
        if not words:
            return
        name, *arguments = words
        if name == "help":
            yield HELP
        elif name == "echo":
            yield " ".join(arguments) + "\n"
        elif name == "whoami":
            yield self._who + "\n"
        elif name == "date":
            yield time.strftime("%a %d %b %Y %H:%M:%S %Z\n")
        elif name == "uptime":
            yield f"this session: {self._clock() - self._started:.0f} s\n"
        elif name == "clock":
            while True:
                yield time.strftime("%H:%M:%S\n")
                await asyncio.sleep(1)
        elif name == "sleep":
            await asyncio.sleep(min(_number(arguments, 1), _LONGEST_SLEEP))
        elif name == "flood":
            async for chunk in self._flood(min(int(_number(arguments, 1000)), _MOST_LINES)):
                yield chunk
        elif name == "big":
            yield "x" * min(int(_number(arguments, 1_000_000)), 64_000_000) + "\n"
        elif name == "exit":
            yield Closing(1000, "exit")
        elif name == "close":
            code = int(_number(arguments, 1000))
            if code in (1000, 1001, 1003, 1008, 1011, 1012, 1013) or 3000 <= code <= 4999:
                yield Closing(code, "as you wish")
            else:
                yield "close: 1000, 1001, 1003, 1008, 1011, 1012, 1013 or 3000 to 4999\n"
        else:
            yield f"{name}: not found, try help\n"

    async def _flood(self, lines: int) -> AsyncIterator[str]:
        started = self._clock()
        for first in range(0, lines, _FLOOD_CHUNK):
            numbers = range(first, min(first + _FLOOD_CHUNK, lines))
            yield "".join(
                f"{number:>7}  all work and no play makes a proxy a dull thing\n" for number in numbers
            )
        yield f"{lines} lines in {self._clock() - started:.2f} s\n"


def _number(arguments: list[str], default: float) -> float:
    try:
        return min(max(0.0, float(arguments[0])), _LARGEST) if arguments else default
    except ValueError:
        return default
