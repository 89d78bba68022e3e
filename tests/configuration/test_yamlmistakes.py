"""The mistakes that people make in YAML are told by what they are, and where they begin."""

from __future__ import annotations

import pytest

from bascule.configuration.yamltext import YamlProblem, parse_yaml

NO_KEY_HERE = (
    'a key cannot stand here; look at its indentation, for a ": " in text without quotes, '
    'and for a ":" without a space on the line above'
)


@pytest.mark.parametrize(
    ("written", "place", "what"),
    [
        ("drain:\n\ttimeout: 30", (2, 1), "a tab; allowed: spaces"),
        ("allowedOrigins: [*]", (1, 18), "text that begins with * needs quotes"),
        ("allowedOrigins:\n  - *\n", (2, 5), "text that begins with * needs quotes"),
        ("user: &", (1, 7), "text that begins with & needs quotes"),
        ("user: @ada", (1, 7), "text that begins with @ needs quotes"),
        ("user: `ada", (1, 7), "text that begins with ` needs quotes"),
        (
            r'app: "[\d]+"',
            (1, 9),
            r'"\d" between double quotes; allowed there: "\\d", or single quotes',
        ),
        ('listen: "127.0.0.1:80\nadmin: x\nroutes: []\n', (1, 9), "a quote that is not closed"),
        ("listen: 'x\n", (1, 9), "a quote that is not closed"),
        ("listen: x\nadmin\nlog: {}\n", (2, 1), 'a key without ":" and a space'),
        ("listen: |\n x\nadmin", (3, 1), 'a key without ":" and a space'),
        ("listen:x\nadmin: y", (2, 6), NO_KEY_HERE),
        ("listen: x\n  admin: y", (2, 8), NO_KEY_HERE),
        ("reason: full: come back", (1, 13), NO_KEY_HERE),
        (
            "drain:\n    rate: 1\n  timeout: 2",
            (3, 3),
            "this does not go on with the block of line 1; look at indentation and quotes",
        ),
        (
            "reason: 'it's full'",
            (1, 13),
            "this does not go on with the block of line 1; look at indentation and quotes",
        ),
        ("allowedOrigins: [a, b\nlisten: x", (1, 17), 'a "[" that is not closed, or lacks a comma'),
        ("drain: {rate: 1\nlisten: x", (1, 8), 'a "{" that is not closed, or lacks a comma'),
        ("routes: [\n", (2, 1), 'the text ends where a value is missing; is a "[" or "{" not closed?'),
        (
            "trustedProxies: [10.0.0.0/8,,]",
            (1, 29),
            'a value is missing before the ","; text that begins with it needs quotes',
        ),
        ("user: }", (1, 7), 'a value is missing before the "}"; text that begins with it needs quotes'),
        ("  listen: x\nadmin: y", (2, 1), "this does not go on with what stands above; look at indentation"),
        (
            "trustedProxies: - 10.0.0.0/8",
            (1, 17),
            'a list cannot begin here; put its first "- " on the next line, or quotes around text',
        ),
        ("adminToken: !Sub abc", (1, 13), "a tag, !Sub; text that begins with ! needs quotes"),
    ],
)
def test_a_mistake_is_named_and_placed_where_it_was_made(
    written: str, place: tuple[int, int], what: str
) -> None:
    with pytest.raises(YamlProblem) as caught:
        parse_yaml(written.encode())

    assert (caught.value.line, caught.value.column) == place
    assert caught.value.what == what
