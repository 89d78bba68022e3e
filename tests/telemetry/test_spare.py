"""The descriptor that is kept back: lent to one block after another, and taken back when it can be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bascule.telemetry.spare import Spare
from tests.support.fewdescriptors import no_descriptors_left

NOTHING = Path(os.devnull)


def test_a_file_can_be_read_within_again_and_again_when_no_descriptor_is_left() -> None:
    spare = Spare()
    with no_descriptors_left():
        for _ in range(3):
            with pytest.raises(OSError, match="Too many open files"):
                NOTHING.read_bytes()
            with spare:
                assert NOTHING.read_bytes() == b""


def test_one_that_was_taken_meanwhile_is_kept_back_later() -> None:
    spare = Spare()
    with no_descriptors_left():
        with spare:
            taken = os.open(NOTHING, os.O_RDONLY)
        with pytest.raises(OSError, match="Too many open files"), spare:
            NOTHING.read_bytes()
        os.close(taken)
        with spare:
            pass
        with pytest.raises(OSError, match="Too many open files"):
            NOTHING.read_bytes()
        with spare:
            assert NOTHING.read_bytes() == b""
