"""A key that is too short to be a secret is told; one that is no good otherwise is an error elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bascule.configuration.auth import SessionAuth
from bascule.configuration.loading import load
from bascule.configuration.loginkey import short_key

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("key", "algorithms", "told"),
    [
        (b"k" * 64, ["HS512"], ""),
        (b"k" * 63, ["HS512"], "63 bytes are few for HS512, whose key must have 64"),
        (b" " * 40 + b"k" * 32 + b"\n", ["HS256", "HS512"], "32 bytes are few for HS512"),
        (b"k" * 32, ["HS256"], ""),
        (b"k" * 47, ["HS384", "HS256"], "47 bytes are few for HS384, whose key must have 48"),
        (b"k\n", ["HS256"], "1 byte is few for HS256, whose key must have 32"),
        (b" \n", ["HS512"], ""),
    ],
)
def test_a_key_that_is_shorter_than_the_hash_is_told(
    tmp_path: Path, key: bytes, algorithms: list[str], told: str
) -> None:
    (tmp_path / "key").write_bytes(key)
    lines = list(
        short_key(SessionAuth.model_validate({"keyFile": tmp_path / "key", "algorithms": algorithms}))
    )
    assert len(lines) == bool(told)
    assert told in "".join(lines)


def test_a_key_that_cannot_be_read_or_is_none_is_no_short_one(tmp_path: Path) -> None:
    assert list(short_key(SessionAuth())) == []
    assert list(short_key(SessionAuth.model_validate({"keyFile": tmp_path / "missing"}))) == []


def test_a_short_key_is_doubtful(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"secret")
    file = tmp_path / "bascule.yaml"
    file.write_text(f"auth: {{session: {{keyFile: {tmp_path}/key}}}}")
    (line,) = load([file], {}).doubts(1000)
    assert line.startswith("auth.session.keyFile: 6 bytes are few")
