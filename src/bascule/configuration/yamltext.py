"""YAML as configuration needs it: no surprises, no duplicate keys, and a line for every key.

PyYAML reads YAML 1.1, in which ``no`` is false, ``0777`` is octal and ``12:30`` is 750.
Here only the words of the YAML 1.2 core schema are special: ``null``, ``true``, ``false``
and decimal numbers. Everything else is text, and a key that takes a number refuses it.

Rules of this file: text in, plain values out; the safe constructor only.
"""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar, Final, NamedTuple

import yaml

from bascule.configuration.yamlmistakes import describe

__all__ = ["Document", "YamlProblem", "parse_yaml", "yaml_scalar"]


_TAG: Final = "tag:yaml.org,2002:"
_MERGE: Final = _TAG + "merge"
_HALF: Final = re.compile("[\ud800-\udfff]")
"""A surrogate: an escape can name it, but it can neither be printed nor stand in a file's name."""


class YamlProblem(ValueError):
    """The text is not YAML as this module accepts it.

    Attributes:
        line: Where, from 1.
        column: Where, from 1.
        what: What is wrong there.
    """

    def __init__(self, what: str, line: int, column: int) -> None:
        super().__init__(f"line {line}, column {column}: {what}")
        self.what = what
        self.line = line
        self.column = column


class _Loader(yaml.SafeLoader):
    """The safe loader with the scalars of YAML 1.2 and no other types."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's own interface)
    yaml_constructors: ClassVar[dict[str | None, Any]] = {
        tag: construct
        for tag, construct in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag in {_TAG + name for name in ("null", "bool", "str", "seq", "map")}
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be text", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f'duplicate key "{key.value}"', problem_mark=key.start_mark
                )
            seen.add(key.value)
            if key.tag != _MERGE:
                key.tag = _TAG + "str"  # "on:" and "1:" are text too: every key of ours is
        return super().construct_mapping(node, deep=deep)

    def construct_scalar(self, node: Any) -> Any:
        value = super().construct_scalar(node)
        if _HALF.search(value):
            raise yaml.MarkedYAMLError(problem="half of a character", problem_mark=node.start_mark)
        return value


for _name, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?",
        list("-+.0123456789"),
    ),
    ("merge", "<<", ["<"]),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(rf"(?:{_pattern})\Z"), _first)
_Loader.add_constructor(_TAG + "int", lambda _, node: int(node.value))
_Loader.add_constructor(_TAG + "float", lambda _, node: float(node.value))


class Document(NamedTuple):
    """A parsed text.

    Attributes:
        data: The value.
        root: Its node, which knows the lines; ``None`` if the text is empty.
    """

    data: object
    root: yaml.Node | None

    def line_of(self, path: tuple[str | int, ...]) -> int:
        """Return the line of a key, or of the nearest enclosing one that is in the text."""
        node = self.root
        line = 1 if node is None else node.start_mark.line + 1
        for step in path:
            found = _child(node, step)
            if found is None:
                break
            mark, node = found
            line = mark.line + 1
        return line


def parse_yaml(raw: bytes) -> Document:
    """Parse one YAML document.

    Args:
        raw: UTF-8, with or without a byte order mark.

    Raises:
        YamlProblem: It is not well-formed, has a key twice, or holds more than one document.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        raise YamlProblem("this is not UTF-8", line, column) from None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        _refuse_cycles(root, set(), set())
        data = None if root is None else loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        raise YamlProblem(*describe(error)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        raise YamlProblem("a control character", line, column) from None
    except RecursionError:
        raise YamlProblem("this is nested too deeply", 1, 1) from None
    except (ValueError, KeyError):  # int() refuses more than 4300 digits; "!!bool x" is none
        raise YamlProblem("a number or a tagged value cannot be read", 1, 1) from None
    return Document(data, root)


def yaml_scalar(value: object) -> str:
    """Write a scalar, or a list of scalars, on one line so that it reads back as the same value."""
    if isinstance(value, str):
        return yaml.safe_dump(value, default_style='"', width=float("inf")).strip()
    if isinstance(value, list):
        return f"[{', '.join(yaml_scalar(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{yaml_scalar(key)}: {yaml_scalar(inner)}' for key, inner in value.items())}}}"
    return json.dumps(value)


def _refuse_cycles(node: yaml.Node | None, above: set[int], done: set[int]) -> None:
    """Refuse an alias to a node that contains it: PyYAML would build an endless value."""
    if node is None or isinstance(node, yaml.ScalarNode) or id(node) in done:
        return
    if id(node) in above:
        raise yaml.MarkedYAMLError(problem="an alias to what contains it", problem_mark=node.start_mark)
    above.add(id(node))
    for inner in node.value:
        for part in inner if isinstance(inner, tuple) else (inner,):
            _refuse_cycles(part, above, done)
    above.discard(id(node))
    done.add(id(node))


def _child(node: yaml.Node | None, step: str | int) -> tuple[yaml.Mark, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == step:
                return key.start_mark, value
    elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step].start_mark, node.value[step]
    return None
