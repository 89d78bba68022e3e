"""The hot path costs what was committed, in instructions: callgrind counts the same number every time."""

import pytest

from bench import instructions
from tests.support.parts import missing


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("workload", sorted(instructions.UNITS))
def test_hot_path_executes_no_more_instructions_than_committed(workload: str) -> None:
    """Run ``python -m bench.instructions --accept`` in the commit that means to change this."""
    reason = instructions.missing()
    if reason:
        missing(reason)
    if instructions.place() not in instructions.committed():
        missing(f"no figures are committed for {instructions.place()}: python -m bench.instructions --accept")
    one = instructions.compare(workload)
    assert one.fine, f"{one.counted:g} instructions instead of {one.committed}: {one.change:+.1%}"


@pytest.mark.parametrize("workload", sorted(instructions.UNITS))
def test_every_workload_has_a_committed_figure(workload: str) -> None:
    """A workload without a figure would guard nothing."""
    assert all(workload in figures for figures in instructions.committed().values())
