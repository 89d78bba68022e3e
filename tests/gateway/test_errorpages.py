from bascule.gateway.errorpages import error_page


def test_a_page_is_readable_in_both_colour_schemes() -> None:
    _, body = error_page(503, "Nobody <listens>.", b"text/html")
    page = body.decode()
    assert "<style>:root{color-scheme:light dark}" in page
    assert "@media(prefers-color-scheme:dark){body{background:" in page
    assert "<p>Nobody &lt;listens&gt;.</p>" in page
