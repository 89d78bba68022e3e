"""What can be pressed or typed into is seen: WCAG 1.4.11 asks for 3:1 around it."""

import re
from importlib.resources import files

import pytest

import bascule


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, bright = sorted((luminance(one), luminance(other)))
    return (bright + 0.05) / (dark + 0.05)


def colours(sheet: str, scheme: str) -> dict[str, str]:
    """Return the variables of a sheet that are plain colours."""
    text = files(bascule).joinpath(sheet).read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", text, re.DOTALL)[:2]
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", light + (dark if scheme == "dark" else "")))


@pytest.mark.parametrize("sheet", ["admin/static/status.css", "demo/static/demo.css"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_controls_stand_out_and_text_is_readable(sheet: str, scheme: str) -> None:
    found = colours(sheet, scheme)
    for ground in ("card", "page"):
        assert contrast(found["edge"], found[ground]) >= 3, ground
        for ink in ("ink", "quiet", "bad-ink"):
            assert contrast(found[ink], found[ground]) >= 4.5, (ink, ground)
