"""The commands that the project's pages show, taken from the pages themselves.

A command is a line of a fenced block whose language is ``sh`` or ``console``; in a ``console`` block that
begins with a prompt only what follows a prompt is one, and the lines below it are what it prints. In the
pages for operators code between backticks is one too, where it begins with a program they use and says what
that is to do; `helm rollback` alone only names one.
"""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tests.support.parts import ROOT

__all__ = ["PAGES", "Command", "blocks", "commands", "fenced"]

PAGES: Final = sorted(
    path
    for folder in ("", "docs", "fuzz", "charts", "examples", "bench", "dashboards", "alerts")
    for path in ((ROOT / folder).rglob("*.md") if folder else ROOT.glob("*.md"))
)
_FENCE: Final = re.compile(
    r'(?:<!-- run: fails with "(?P<error>[^"]+)" -->\n)?'
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```$",
    re.DOTALL | re.MULTILINE,
)
_INLINE: Final = re.compile(
    r"`((?:kubectl [^\s`]+|helm [^\s`]+|podman [^\s`]+|jupyter|promtool|curl|make|pytest|python -m)\s[^`]*)`"
)
_FOR_OPERATORS: Final = ("README.md", "docs/howto/", "docs/runbooks/")


@dataclass(frozen=True)
class Command:
    """One command as somebody would type it.

    Attributes:
        page: Path of the page from the project's root.
        text: The command, with its continued lines and its comment.
        error: What it says when it fails, where the page says that it does.
        shown: What the page says it prints.
    """

    page: str
    text: str
    error: str | None = None
    shown: str = ""

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    page: str
    language: str
    text: str
    error: str | None


def blocks() -> Iterator[Block]:
    """Yield every fenced block of every page."""
    for path in PAGES:
        for found in _FENCE.finditer(path.read_text(encoding="utf-8")):
            text = textwrap.dedent(found["text"])
            yield Block(str(path.relative_to(ROOT)), found["language"], text, found["error"])


def commands() -> list[Command]:
    """Return every command of every page, in their order; one that a page shows twice is there once."""
    found = [one for block in blocks() if block.language in {"sh", "console"} for one in _of(block)]
    for path in PAGES:
        page = str(path.relative_to(ROOT))
        if page.startswith(_FOR_OPERATORS):
            text = _FENCE.sub("", path.read_text(encoding="utf-8"))
            found += [Command(page, " ".join(one.split())) for one in _INLINE.findall(text)]
    return list(dict.fromkeys(found))


def fenced(page: str, language: str) -> str:
    """Return the first block of a page that has a language."""
    return next(block.text for block in blocks() if (block.page, block.language) == (page, language))


def _of(block: Block) -> Iterator[Command]:
    lines = block.text.replace("\\\n", "\\\0").splitlines()
    transcript = lines[0].startswith("$ ")
    for number, line in enumerate(lines):
        if transcript and not line.startswith("$ "):
            continue
        shown = []
        for answer in lines[number + 1 :] if transcript else ():
            if answer.startswith("$ "):
                break
            shown.append(answer)
        text = line.removeprefix("$ ").replace("\0", "\n")
        if text.strip() and not text.startswith("#"):
            yield Command(block.page, text, block.error, "\n".join(shown))
