import pytest

from bascule.gateway.listening.errorpages import error_page


def test_a_page_is_readable_in_both_colour_schemes() -> None:
    _, body = error_page(503, "Nobody <listens>.", b"text/html")
    page = body.decode()
    assert "<style>:root{color-scheme:light dark}" in page
    assert "@media(prefers-color-scheme:dark){body{background:" in page
    assert "<p>Nobody &lt;listens&gt;.</p>" in page


@pytest.mark.parametrize(("status", "again"), [(400, 0), (404, 0), (431, 0), (502, 1), (503, 1), (504, 1)])
def test_a_page_tries_again_by_itself_where_that_may_help(status: int, again: int) -> None:
    _, body = error_page(status, "Why.", b"text/html")

    assert body.count(b'<meta http-equiv="refresh" content="5">') == again
    assert body.count(b"<p>This page tries again every 5 seconds.</p>") == again
