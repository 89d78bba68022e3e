"""What is wrong with a text that is no YAML, in words for the person who wrote it, and where to look.

PyYAML says which token its scanner did not expect and where that one stands, which is often lines
below the mistake. The mistakes that people make in a configuration are told by what they are;
for all others its own sentence is kept.

Rules of this file: it words and places what PyYAML has found, and looks for nothing itself.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import yaml

__all__ = ["describe"]

_NO_TOKEN: Final = re.compile(r"found character '(.+)' that cannot start any token")
_NO_VALUE: Final = re.compile(r"expected the node content, but found '([],}])'")
_NO_TAG: Final = "could not determine a constructor for the tag '"
_NO_ESCAPE: Final = re.compile(r"found unknown escape character '(.+)'")
_OWN_TAGS: Final = "tag:yaml.org,2002:"
_BRACKETS: Final = {"while parsing a flow sequence": "[", "while parsing a flow mapping": "{"}
_SIGNS: Final = {"while scanning an alias": "*", "while scanning an anchor": "&"}


def describe(error: yaml.MarkedYAMLError) -> tuple[str, int, int]:
    """Return what is wrong, and the line and the column of it, from 1."""
    what, begins = _in_plain_words(error)
    mark = error.context_mark if begins else error.problem_mark
    mark = mark or error.problem_mark or error.context_mark
    return (what, mark.line + 1, mark.column + 1) if mark else (what, 1, 1)


def _in_plain_words(error: yaml.MarkedYAMLError) -> tuple[str, bool]:
    """Return what is wrong, and whether its place is where the thing that contains it begins."""
    problem, context = error.problem or "", error.context or ""
    if found := _NO_TOKEN.match(problem):
        if found[1] == r"\t":
            return "a tab; allowed: spaces", False
        return f"text that begins with {found[1]} needs quotes", False
    if context in _SIGNS and problem.startswith("expected alphabetic"):
        return f"text that begins with {_SIGNS[context]} needs quotes", True
    if found := _NO_ESCAPE.match(problem):
        return rf'"\{found[1]}" between double quotes; allowed there: "\\{found[1]}", or single quotes', False
    if context == "while scanning a quoted scalar" and problem.startswith("found unexpected"):
        return "a quote that is not closed", True
    if context == "while scanning a simple key":
        return 'a key without ":" and a space', True
    if problem == "mapping values are not allowed here":
        hint = 'for a ": " in text without quotes, and for a ":" without a space on the line above'
        return f"a key cannot stand here; look at its indentation, {hint}", False
    if problem.startswith("expected <block end>") and error.context_mark:
        line = error.context_mark.line + 1
        return f"this does not go on with the block of line {line}; look at indentation and quotes", False
    if context in _BRACKETS:
        return f'a "{_BRACKETS[context]}" that is not closed, or lacks a comma', True
    if problem == "expected the node content, but found '<stream end>'":
        return 'the text ends where a value is missing; is a "[" or "{" not closed?', False
    if found := _NO_VALUE.match(problem):
        return f'a value is missing before the "{found[1]}"; text that begins with it needs quotes', False
    if problem.startswith("expected '<document start>'"):
        return "this does not go on with what stands above; look at indentation", False
    if problem == "sequence entries are not allowed here":
        return 'a list cannot begin here; put its first "- " on the next line, or quotes around text', False
    if problem.startswith(_NO_TAG):
        tag = problem.removeprefix(_NO_TAG).removesuffix("'").replace(_OWN_TAGS, "!!")
        return f"a tag, {tag}; text that begins with ! needs quotes", False
    if problem.startswith("found undefined alias"):
        return f"{problem}; text that begins with * needs quotes", False
    if problem.startswith("but"):  # PyYAML splits this one sentence in two
        return f"{context}, {problem}", False
    return problem, False
