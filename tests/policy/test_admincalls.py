"""The admin token: a file that was forgotten must not open what it was meant to close."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from bascule.configuration.config import Config
from bascule.errors import ConfigError
from bascule.policy.admincalls import read_token


def test_a_token_in_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "token"
    os.mkfifo(pipe)
    with pytest.raises(ConfigError) as refused:
        read_token(Config(admin_token_file=pipe))
    allowed = "a regular file of at most 4 MiB"
    assert refused.value.problems == [f"adminTokenFile: Not a regular file: {pipe}; allowed: {allowed}"]


def test_an_empty_token_file_opens_nothing(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("\n")
    with pytest.raises(ConfigError, match=r"there is no token in .*; allowed: a token on one line"):
        read_token(Config(admin_token_file=file))


@pytest.mark.parametrize("text", ["one\ntwo\n", "one\0two", "\x7f", "one\rtwo"])
def test_a_token_that_no_request_can_send_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "token"
    file.write_bytes(text.encode())
    with pytest.raises(ConfigError, match="or a control character; allowed: a token on one line"):
        read_token(Config(admin_token_file=file))
    with pytest.raises(ValidationError, match="text on one line"):
        Config(admin_token=text)


def test_a_token_comes_from_its_file_or_else_from_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(" from the file\n")
    assert read_token(Config(admin_token_file=file)) == "from the file"
    assert read_token(Config(admin_token="said at once")) == "said at once"
    assert read_token(Config()) is None


def test_a_token_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigError) as refused:
        read_token(Config(admin_token_file=file))
    allowed = "a token on one line, in UTF-8"
    assert refused.value.problems == [f"adminTokenFile: not UTF-8: {file}; allowed: {allowed}"]
