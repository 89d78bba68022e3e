"""The rolling replacement takes most of a minute, so it is run once, not twice, in a run of all tests."""

import pytest

COMMAND = "test_picture_commands.py::test_the_rehearsal"
"""The test of the command that runs it, with more clients."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the rehearsal itself where its command is run too."""
    if any(COMMAND in item.nodeid for item in items):
        twice = [item for item in items if "test_rolling_replacement.py" in item.nodeid]
        items[:] = [item for item in items if item not in twice]
        config.hook.pytest_deselected(items=twice)
