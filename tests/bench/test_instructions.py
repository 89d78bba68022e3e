"""The hot path costs what was committed, in instructions: callgrind counts the same number every time."""

import platform

import pytest

from bench import instructions
from tests.support.parts import missing


@pytest.mark.real
@pytest.mark.parametrize("workload", sorted(instructions.UNITS))
def test_hot_path_executes_no_more_instructions_than_committed(workload: str) -> None:
    """Run ``python -m bench.instructions --accept`` in the commit that means to change this."""
    reason = instructions.missing()
    if reason:
        missing(reason)
    one = instructions.compare(workload)
    if one.committed is None:
        missing(f"no figures are committed for {platform.machine()}: python -m bench.instructions --accept")
    assert one.fine, f"{one.counted:g} instructions instead of {one.committed}: {one.change:+.1%}"


@pytest.mark.parametrize("workload", sorted(instructions.UNITS))
def test_every_workload_has_a_committed_figure(workload: str) -> None:
    """A workload without a figure would guard nothing."""
    assert all(workload in figures for figures in instructions.committed().values())


@pytest.mark.parametrize(("counted", "fine"), [(129.9, True), (130.1, False)])
def test_another_compiler_is_held_to_the_figures_of_its_architecture(
    monkeypatch: pytest.MonkeyPatch, counted: float, fine: bool
) -> None:
    machine = platform.machine()
    figures = {
        f"{machine}-cc1-python3.0": 90.0,
        f"{machine}-cc2-python3.0": 100.0,
        "z80-cc1-python3.0": 900.0,
    }
    monkeypatch.setattr(
        instructions, "committed", lambda: {where: {"message": one} for where, one in figures.items()}
    )
    monkeypatch.setattr(instructions, "count", lambda _workload: counted)
    assert instructions.compare("message").fine is fine


def test_another_architecture_is_held_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "committed", lambda: {"z80-cc1-python3.0": {"message": 1.0}})
    monkeypatch.setattr(instructions, "count", lambda _workload: 1.0)
    assert instructions.compare("message").committed is None
