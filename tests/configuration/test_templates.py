"""What a URL may choose, and what it may not."""

from __future__ import annotations

import pytest

from bascule.configuration.templates import (
    PathTemplate,
    UpstreamAddress,
    UpstreamTemplate,
    check_pattern,
    may_capture,
)


@pytest.mark.parametrize(
    "pattern", ["[a-z0-9-]+", r"\d{5}", "(alice|bob)", r"[a-z]+(%40[a-z.]+)?", "(?i)x", "a{0,3}b"]
)
def test_a_pattern_that_names_what_may_come_is_accepted(pattern: str) -> None:
    check_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (".*", 'this one matches "/"'),
        (".+", 'this one matches "/"'),
        ("[^/]+", 'this one matches ".."'),
        ("[a-z.]+", 'this one matches ".."'),
        ("[a-z%0-9A-F]+", 'this one matches "%"'),
        ("[a-z;]+", 'this one matches ";"'),
        (r"[a-z\\]+", r'this one matches "\"'),
        ("a?", "this one matches an empty segment"),
        ("[a-z/]{3}", 'this one matches "a/b"'),
        ("[", "a regular expression (unterminated character set"),
        ("[[a]+", "a regular expression (Possible nested set"),
        ("é", "a pattern in ASCII"),
        ("a{99999999999}", "a regular expression (the repetition number is too large"),
    ],
)
def test_a_pattern_that_lets_too_much_through_is_refused(pattern: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is compared below)
        check_pattern(pattern)

    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("/", ()),
        ("/lab", (b"lab",)),
        ("/lab/", (b"lab",)),
        ("/user/{name}/x/", (b"user", "name", b"x")),
        ("/%7Ebob/a%40b", (b"~bob", b"a@b")),
        ("/%c3%a9", (b"%C3%A9",)),
    ],
)
def test_a_path_is_kept_in_its_normal_reading(text: str, segments: tuple[bytes | str, ...]) -> None:
    assert PathTemplate.parse(text).segments == segments


def test_the_shape_leaves_the_names_out() -> None:
    template = PathTemplate.parse("/a/{x}/{y}/")

    assert template.names == ("x", "y")
    assert template.shape == (b"a", None, None)


def test_an_asterisk_that_is_meant_is_escaped() -> None:
    assert PathTemplate.parse("/a%2Ab").segments == (b"a*b",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("lab", 'a path that starts with "/"'),
        ("", 'a path that starts with "/"'),
        ("/a//b", "a path without an empty segment"),
        ("/a/../b", "the path contains a dot segment"),
        ("/a b", "must be escaped"),
        ("/é", "a path in ASCII"),
        ("/a?b", "a path without a query"),
        ("/a;b", 'a path without ";"'),
        ("/a%2Fb", 'a path without ";" and without escaped "/"'),
        ("/a%25b", 'a path without ";" and without escaped "/"'),
        ("/a-{x}/", 'a "{name}" (a-z, 0-9, _) that is a whole segment'),
        ("/{X}/", 'a "{name}" (a-z, 0-9, _) that is a whole segment'),
        ("/user/*", 'a path without "*": it covers all below it anyway'),
        ("/{x}/{x}", "a path in which {x} occurs only once"),
        ("/.bascule/x", 'a path outside "/.bascule/"'),
    ],
)
def test_a_path_that_no_request_can_have_or_nobody_means_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        PathTemplate.parse(text)

    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://127.0.0.1:8888", UpstreamAddress("http", "127.0.0.1", 8888, b"127.0.0.1:8888")),
        ("http://lab", UpstreamAddress("http", "lab", 80, b"lab")),
        ("HTTPS://lab", UpstreamAddress("https", "lab", 443, b"lab")),
        ("http://lab:80/", UpstreamAddress("http", "lab", 80, b"lab")),
        (
            "https://lab.example.org.:443",
            UpstreamAddress("https", "lab.example.org.", 443, b"lab.example.org."),
        ),
        ("https://[::1]:80", UpstreamAddress("https", "::1", 80, b"[::1]:80")),
        (
            "http+unix://%2frun%2FApp%5b1%5D.sock",
            UpstreamAddress("http+unix", "/run/App[1].sock", 0, b"%2Frun%2FApp%5B1%5D.sock"),
        ),
        ("http+unix://%2Fa/", UpstreamAddress("http+unix", "/a", 0, b"%2Fa")),
    ],
)
def test_a_fixed_upstream_is_one_address(text: str, address: UpstreamAddress) -> None:
    template = UpstreamTemplate.parse(text, {})

    assert template.is_fixed
    assert template.address({}) == address


def test_an_address_is_shown_with_its_port_and_an_ipv6_one_in_brackets() -> None:
    assert UpstreamAddress("http", "lab", 80, b"lab").endpoint == "lab:80"
    assert UpstreamAddress("http", "::1", 80, b"[::1]:80").endpoint == "[::1]:80"
    assert UpstreamAddress("http+unix", "/run/a.sock", 0, b"%2Frun%2Fa.sock").endpoint == "unix:/run/a.sock"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ftp://x", '"http://host:port"'),
        ("unix:/run/app.sock", '"http+unix://%2Frun%2Fapp.sock"'),
        ("http://unix:/run/app.sock", '"http+unix://%2Frun%2Fapp.sock"'),
        ("https+unix://%2Frun%2Fapp.sock", '"http+unix://%2Frun%2Fapp.sock"'),
        ("unix+http://%2Frun%2Fapp.sock", '"http+unix://%2Frun%2Fapp.sock"'),
        ("http+unix:///run/app.sock", 'each "/" as "%2F"'),
        ("http+unix://%2Frun%2Fapp.sock/path", 'each "/" as "%2F"'),
        ("http+unix://%2Frun%2Fapp.sock:80x?y", 'each "/" as "%2F"'),
        ("http+unix://%2Frun%2F{app}.sock", 'without "{name}"'),
        ("http://", "a host name or an address"),
        ("http://u:p@x", "without user"),
        ("http://u@x", "without user"),
        ("http://x/path", "without user, path"),
        ("http://x?y", "without user"),
        ("http://x#y", "without user"),
        ("http://x:", "a port from 1"),
        ("http://x:0", "a port from 1"),
        ("http://x:65536", "a port from 1"),
        ("http://x:8{port}", "a port from 1"),
        ("http://x y", "a host name or an address"),
        ("http://[::1", '"http://host:port"'),
        ("http://[x]", "a host name or an address"),
        ("http://[fe80::1%25eth0]", "a host name or an address"),
        ("http://é", "a host name or an address"),
        ("http://{other}", "{other} is none"),
        ("http://{app}:{other}", "{other} is none"),
        ("http://{app}x{", "a host name or an address"),
        ("http://-{app}", "a host name or an address"),
        ("http://x:{app}", "a port pinned by a pattern of digits"),
        ("http://{dotted}.svc", 'the pattern of {dotted} matches "a.b"'),
    ],
)
def test_an_upstream_that_says_too_much_is_refused(text: str, reason: str) -> None:
    where = {"app": "[a-z0-9-]+", "port": "[0-9]{5}", "dotted": r"[a-z]+\.[a-z]+"}

    with pytest.raises(ValueError) as caught:  # noqa: PT011
        UpstreamTemplate.parse(text, where)

    assert reason in str(caught.value)


ANY = "[A-Za-z0-9_-]+"


def address(template: str, **captured: bytes) -> UpstreamAddress | None:
    where = {name: "[0-9]+" if name == "port" else ANY for name in captured}
    return UpstreamTemplate.parse(template, where).address(captured)


def test_a_captured_name_fills_a_label() -> None:
    found = address("http://app-{app}.{project}.svc:8501", app=b"Plot-1", project=b"a_b")

    assert found == UpstreamAddress(
        "http", "app-plot-1.a_b.svc", 8501, b"app-plot-1.a_b.svc:8501", named_by_url=True
    )


@pytest.mark.parametrize(
    "name",
    [
        b"0",
        b"2130706433",
        b"0x7f000001",
        b"0X7F",
        b"017700000001",
        b"localhost",
        b"LOCALHOST",
        b"-x",
        b"x-",
        b"a" * 64,
        b"a.b",
        b"127.0.0.1",
        b"[::]",
        b"a:1",
        b"a@b",
        b"",
    ],
)
def test_45_a_host_from_a_url_is_never_an_address_nor_this_host(name: bytes) -> None:
    assert address("http://{app}:8080", app=name) is None
    assert address("http://x.{app}:8080", app=name) is None


def test_45_a_host_is_marked_if_a_part_of_it_came_from_a_url() -> None:
    for template, marked in (("http://{app}.svc", True), ("http://apps.svc", False), ("http://[::1]", False)):
        found = address(template, app=b"a")
        assert found is not None
        assert found.named_by_url is marked


def test_45_digits_are_fine_where_they_cannot_be_read_as_an_address() -> None:
    found = address("http://{app}.svc", app=b"2130706433")

    assert found is not None
    assert found.host == "2130706433.svc"


@pytest.mark.parametrize(
    "port", [b"0", b"00080", b"080", b"65536", b"99999", b"123456", b"-1", b"+80", b"8e3", b""]
)
def test_47_a_port_from_a_url_cannot_overflow(port: bytes) -> None:
    assert address("http://jupyter:{port}", port=port) is None


@pytest.mark.parametrize(("port", "number"), [(b"1", 1), (b"8888", 8888), (b"65535", 65535)])
def test_a_port_from_a_url_is_plain_decimal(port: bytes, number: int) -> None:
    found = address("http://jupyter:{port}", port=port)

    assert found is not None
    assert (found.port, found.authority) == (number, b"jupyter:%d" % number)


@pytest.mark.parametrize("pattern", [r"\d{1,5}", "[0-9]+", "(?:80|90)[0-9]{2}", "8888"])
def test_a_port_may_be_pinned_by_any_pattern_of_digits(pattern: str) -> None:
    assert UpstreamTemplate.parse("http://x:{port}", {"port": pattern}).port == "port"


@pytest.mark.parametrize("port", [1, 65535])
def test_every_port_may_be_written_down(port: int) -> None:
    assert UpstreamTemplate.parse(f"http://lab:{port}", {}).port == port


def test_a_host_may_be_253_bytes_long_and_may_have_capitals() -> None:
    longest = ".".join(["a" * 63] * 3 + ["a" * 61])
    assert UpstreamTemplate.parse(f"http://{longest}", {}).host == longest
    assert UpstreamTemplate.parse("http://Lab", {}).host == "Lab"
    with pytest.raises(ValueError, match="a host name"):
        UpstreamTemplate.parse(f"http://{longest}a", {})


@pytest.mark.parametrize("upstream", ["http://{a}:80", "http://lab:{a}"])
def test_an_upstream_with_a_name_in_it_is_not_fixed(upstream: str) -> None:
    assert not UpstreamTemplate.parse(upstream, {"a": "[0-9]+"}).is_fixed


@pytest.mark.parametrize("pattern", ["127[.]0[.]0[.]1", "a:1", "a@b"])
def test_a_name_in_a_host_stays_within_its_label(pattern: str) -> None:
    with pytest.raises(ValueError, match="one label for each name"):
        UpstreamTemplate.parse("http://{a}.lab", {"a": pattern})


def test_a_number_with_a_dot_behind_it_is_no_host_either() -> None:
    template = UpstreamTemplate.parse("http://lab.{a}.", {"a": "[0-9a-z]+"})
    assert template.address({"a": b"b"}) is not None
    assert template.address({"a": b"7"}) is None


@pytest.mark.parametrize("path", ["/{a", "/a}", "/a/%25"])
def test_half_a_name_and_an_escaped_percent_sign_are_in_no_path(path: str) -> None:
    with pytest.raises(ValueError, match=r"a path without|whole segment"):
        PathTemplate.parse(path)


def test_a_segment_of_a_url_is_put_to_a_pattern_if_it_is_plain_and_not_too_long() -> None:
    captured = [may_capture(segment) for segment in (b"a", b"a" * 255, b"", b"a" * 256, b"a%2Fb", b"a;b")]
    assert captured == [True, True, False, False, False, False]


def test_a_pattern_that_may_be_read_differently_one_day_is_refused() -> None:
    assert check_pattern("[a-z]+").fullmatch(b"lab")
    with pytest.raises(ValueError, match="a regular expression"):
        check_pattern("[[a]")
