"""The dashboard, shown working: real pods, a real Prometheus, every committed query answered."""

import shutil
from pathlib import Path

import pytest
from scripts import draw_dashboard

from tests.support.parts import require

pytestmark = [pytest.mark.real, pytest.mark.slow]


def pictures(folder: Path) -> set[str]:
    found = set()
    for path in folder.iterdir():
        assert path.read_bytes().startswith(b"\x89PNG")
        found.add(path.name)
    return found


@pytest.mark.timeout(180)
def test_every_panel_has_data_from_two_real_pods_under_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    require("prometheus")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2] / "src"))
    status = draw_dashboard.main(["--seconds", "24", "--out", str(tmp_path)])
    assert status == 0, capsys.readouterr().err
    assert pictures(tmp_path) == {"dashboard-dark.png", "dashboard-light.png"}


def test_a_query_without_an_answer_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require("prometheus")
    status = draw_dashboard.main(
        ["--pod", "nobody=http://127.0.0.1:1/metrics", "--seconds", "2", "--out", str(tmp_path)]
    )
    assert status == 1
    assert "no data: WebSocket - sessions" in capsys.readouterr().err
    shutil.rmtree(tmp_path)
