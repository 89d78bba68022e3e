"""No page shows a command that no test runs."""

import importlib.util
from pathlib import Path

import pytest

from tests.docs.claims import CLAIMS, claims_on
from tests.support.pages import Command, blocks, commands

OTHER_LANGUAGES = {"haproxy", "html", "ini", "json", "logql", "nginx", "python", "text", "traefik", "yaml"}
"""What a block holds that is no command."""


@pytest.mark.parametrize("command", commands(), ids=str)
def test_a_command_is_run_by_one_test_module(command: Command) -> None:
    assert len(claims_on(command)) == 1, claims_on(command)


@pytest.mark.parametrize(("module", "pattern"), CLAIMS)
def test_a_claim_is_on_something_and_its_module_takes_it_from_the_page(module: str, pattern: str) -> None:
    found = importlib.util.find_spec(module)
    assert found
    assert found.origin
    assert "claimed(__name__)" in Path(found.origin).read_text(encoding="utf-8")
    assert any((module, pattern) in matching(command) for command in commands()), "no page has such a command"


def matching(command: Command) -> list[tuple[str, str]]:
    import re

    return [(module, pattern) for module, pattern in CLAIMS if re.search(pattern, str(command))]


def test_every_block_says_whether_it_holds_commands() -> None:
    """One without a language would hide them."""
    unknown = [
        (block.page, block.text[:60])
        for block in blocks()
        if block.language not in {"sh", "console", *OTHER_LANGUAGES}
    ]
    assert unknown == []
