"""A dashboard with a hole is not drawn in silence.

That every committed query is answered by real pods is shown by tests/docs/test_picture_commands.py, with the
command of the page.
"""

import shutil
from pathlib import Path

import pytest
from scripts import draw_dashboard

from tests.support.parts import require

pytestmark = pytest.mark.real


def test_a_query_without_an_answer_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require("prometheus")
    status = draw_dashboard.main(
        ["--pod", "nobody=http://127.0.0.1:1/metrics", "--seconds", "2", "--out", str(tmp_path)]
    )
    assert status == 1
    assert "no data: WebSocket - sessions" in capsys.readouterr().err
    shutil.rmtree(tmp_path)
