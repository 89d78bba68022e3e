"""The admin token: a file that was forgotten must not open what it was meant to close."""

import os
from pathlib import Path

import pytest

from bascule.errors import ConfigError
from bascule.policy.admincalls import read_token
from bascule.policy.config import Config


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
    with pytest.raises(ConfigError, match="adminTokenFile: there is no token in"):
        read_token(Config(admin_token_file=file))
