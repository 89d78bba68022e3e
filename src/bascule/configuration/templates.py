"""The two templates of a route: the path it matches and the upstream it leads to.

What a URL may choose is decided here and nowhere else. A ``{name}`` in a path is one
segment, pinned by the operator's pattern; the same name may stand in the upstream's host
or be its port. The segment can never widen what the template says:

* a pattern that would match a slash, a dot segment, ``%``, ``;`` or a backslash is refused
  when the configuration is read, and a segment with an escaped slash, semicolon,
  backslash or percent sign matches no pattern at all;
* in a host it is part of one label: letters, digits, ``-`` and ``_``, never a dot, so the
  labels written out in the template stay where they are;
* a host that came from a URL is never an address in any notation (``0x7f000001``,
  ``2130706433``, ``0177``) and never ``localhost``, and it is marked: what its name means
  is not known before a look-up (`bascule.policy.offlimits`);
* a port that came from a URL is 1 to 65535 in plain decimal;
* a Unix socket's path holds no name at all: no pattern could say which files are harmless.

Rules of this file: pure; `ValueError` carries a text for the operator. A segment that does
not fit when a request comes is no match.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from typing import TYPE_CHECKING, Final, NamedTuple

from bascule.configuration.endpoints import host_port
from bascule.configuration.socketpath import SOCKET_ALLOWED, UNIX_SCHEME, socket_host, socket_path
from bascule.protocol.path import BadTarget, parse_target

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "BRACED",
    "RESERVED_SEGMENT",
    "PathTemplate",
    "UpstreamAddress",
    "UpstreamTemplate",
    "check_pattern",
    "may_capture",
]

BRACED: Final = re.compile(r"\{([a-z][a-z0-9_]*)\}")
"""A ``{name}``; its group is the name."""
_PROBES: Final = (
    "/", "..", ".", "%", ";", "\\", "%2F", "%2f", "%2E", "%5C", "%00", "%25", "%3B", "a/b", "a;b", "a\\b",
    "a%2Fb", "a%25b", "../a", "..;", "",
)  # fmt: skip
"""What no pattern may match. A probe cannot prove a pattern safe, so requests are checked again."""
_ESCAPED: Final = re.compile(rb"%(?:2F|5C|25|3B|3F|23)|[;\\]")
_LONGEST_SEGMENT: Final = 255
"""Longest segment that a pattern is tried on: names are not longer, and a slow pattern then costs little."""

_UPSTREAM: Final = re.compile(
    r"(?P<scheme>(?i:https?))://(?P<host>\[[^\]]*\]|[^:/?#@\[\]]*)(?::(?P<port>[^:/?#@]*))?/?"
)
_DIGITS_ONLY: Final = re.compile(r"(?:\\d|[0-9\[\]{}(),|?+*-]|\?:)+")
"""A pattern written with these can only match digits (and marks that the port check refuses)."""
RESERVED_SEGMENT: Final = b".bascule"
"""First segment of the paths that bascule itself answers: no route has them, not even ``/``."""
_LABEL: Final = re.compile(rb"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_IN_LABEL: Final = re.compile(rb"[A-Za-z0-9_-]+")
_NUMERIC: Final = re.compile(rb"[0-9]+|0x[0-9a-f]*")
"""A last label that makes a resolver read the whole host as an IPv4 address (WHATWG URL §3.5)."""
_UNIX: Final = f"{UNIX_SCHEME}://"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class UpstreamAddress(NamedTuple):
    """Where to connect.

    Attributes:
        scheme: ``http``, ``https`` or ``http+unix``.
        host: Name or address; no brackets. With ``http+unix`` the path of a Unix socket.
        port: 1 to 65535; 0 with ``http+unix``.
        authority: ``host[:port]`` as in a URL, without the scheme's own port.
        named_by_url: Whether a part of the host came from a request's URL.
    """

    scheme: str
    host: str
    port: int
    authority: bytes
    named_by_url: bool = False

    @property
    def endpoint(self) -> str:
        """``host:port`` or ``unix:/path``, as the log and the list of sessions name it."""
        return _endpoint(self.host, self.port)


@lru_cache(maxsize=1024)
def _endpoint(host: str, port: int) -> str:
    return host_port(host, port) if port else f"unix:{host}"


def check_pattern(pattern: str) -> re.Pattern[bytes]:
    """Compile the pattern of a ``{name}``.

    Raises:
        ValueError: It is no regular expression, is not ASCII, or matches one of `_PROBES`; says what is
            allowed.
    """
    if not pattern.isascii():
        raise ValueError("a pattern in ASCII: segments are matched in their escaped form")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # "[[a]": what Python may read differently one day
            compiled = re.compile(pattern.encode())
    except (re.error, RecursionError, OverflowError, Warning) as error:
        raise ValueError(f"a regular expression ({error})") from None
    for probe in _PROBES:
        if compiled.fullmatch(probe.encode()):
            shown = f'"{probe}"' if probe else "an empty segment"
            raise ValueError(f'a narrower pattern, such as "[a-z0-9-]+"; this one matches {shown}')
    return compiled


@dataclass(frozen=True, slots=True)
class PathTemplate:
    """A path with ``{name}`` segments.

    Attributes:
        segments: For each segment its normal reading (`bascule.protocol.path`), or
            the name it captures.
    """

    segments: tuple[bytes | str, ...]

    @classmethod
    def parse(cls, text: str) -> PathTemplate:
        """Read a route's path.

        Raises:
            ValueError: It is no path that a request could have, or bascule itself answers it.
        """
        if not text.startswith("/"):
            raise ValueError('a path that starts with "/"')
        parts: list[bytes | str] = []
        pieces = text[1:].split("/")
        for piece in pieces[:-1] if pieces[-1] == "" else pieces:
            if name := BRACED.fullmatch(piece):
                if name[1] in parts:
                    raise ValueError(f"a path in which {{{name[1]}}} occurs only once")
                parts.append(name[1])
                continue
            if piece == "":
                raise ValueError("a path without an empty segment")
            if "{" in piece or "}" in piece:
                raise ValueError('a "{name}" (a-z, 0-9, _) that is a whole segment')
            if "*" in piece:
                # It would match only itself, which its author hardly means.
                raise ValueError('a path without "*": it covers all below it anyway ("*" itself is "%2A")')
            parts.append(_literal(piece))
        if parts[:1] == [RESERVED_SEGMENT]:
            raise ValueError('a path outside "/.bascule/", which bascule itself answers')
        return cls(tuple(parts))

    @property
    def names(self) -> tuple[str, ...]:
        """The names it captures, in order."""
        return tuple(part for part in self.segments if isinstance(part, str))

    @property
    def shape(self) -> tuple[bytes | None, ...]:
        """The path with the names left out; two routes may not have the same."""
        return tuple(None if isinstance(part, str) else part for part in self.segments)


def _literal(piece: str) -> bytes:
    try:
        target = parse_target(b"/" + piece.encode("ascii"))
    except BadTarget as refused:
        raise ValueError(f"a path as requests have it ({refused.detail.lower().rstrip('.')})") from None
    except UnicodeEncodeError:
        raise ValueError('a path in ASCII, other characters escaped ("%C3%A9")') from None
    if target.query:
        raise ValueError("a path without a query")
    if target.credulous or target.truncated or _ESCAPED.search(target.segments[0]):
        raise ValueError('a path without ";" and without escaped "/", ";", "%", "\\", "?" or "#"')
    return target.segments[0]


def may_capture(segment: bytes) -> bool:
    """Tell whether a segment in its normal reading may be tried on a pattern at all."""
    return 0 < len(segment) <= _LONGEST_SEGMENT and _ESCAPED.search(segment) is None


@dataclass(frozen=True, slots=True)
class UpstreamTemplate:
    """An upstream whose host and port may hold names.

    Attributes:
        scheme: ``http``, ``https`` or ``http+unix``.
        host: Text with ``{name}``; brackets around an IPv6 address. With ``http+unix`` a path, without names.
        port: A number, or the name that captures it; 0 with ``http+unix``.
    """

    scheme: str
    host: str
    port: int | str

    @classmethod
    def parse(cls, text: str, where: Mapping[str, str]) -> UpstreamTemplate:
        """Read a route's upstream.

        Args:
            text: ``http://host[:port]``, or ``http+unix://`` and a path with escaped slashes.
            where: The names that the path captures, with their patterns.

        Raises:
            ValueError: It is no upstream, or a name could stand for more than one label or the port.
        """
        if text.startswith(_UNIX):
            return cls(UNIX_SCHEME, socket_path(text.removeprefix(_UNIX).removesuffix("/")), 0)
        found = _UPSTREAM.fullmatch(text)
        if found is None:
            raise ValueError(
                '"http://host:port" or "https://host:port", without user, path, query and fragment, '
                f"or {SOCKET_ALLOWED}"
            )
        for name in BRACED.findall(text):
            if name not in where:
                raise ValueError(f"names that the path captures; {{{name}}} is none")
        scheme, host = found["scheme"].lower(), found["host"]  # RFC 3986 §3.1: a scheme has no case
        # With every name replaced by a letter the template must be a host already.
        sample = BRACED.sub("a", host).lower()
        if not (_is_host(sample.encode("ascii", "replace")) or _is_address(host)):
            raise ValueError('a host name or an address ("[::1]"), with each "{name}" inside a label')
        for name in BRACED.findall(host):
            compiled = re.compile(where[name].encode())
            for probe in (b"a.b", b"127.0.0.1", b"a:1", b"a@b"):
                if compiled.fullmatch(probe):
                    raise ValueError(
                        f'one label for each name; the pattern of {{{name}}} matches "{probe.decode()}"'
                    )
        return cls(scheme, host, _port(found["port"], scheme, where))

    @property
    def is_fixed(self) -> bool:
        """Whether it is the same for every request."""
        return isinstance(self.port, int) and "{" not in self.host

    @property
    def names_in_host(self) -> frozenset[str]:
        """The names that the host is made of."""
        return frozenset(BRACED.findall(self.host))

    def address(self, captured: Mapping[str, bytes]) -> UpstreamAddress | None:
        """Fill in what a request brought.

        Args:
            captured: Name → segment in its normal reading, matched by its pattern.

        Returns:
            Where to connect; ``None`` if the result is no host name or no port, which
            the caller treats as no match.
        """
        if self.scheme == UNIX_SCHEME:
            return UpstreamAddress(self.scheme, self.host, 0, socket_host(self.host).encode("ascii"))
        host = self.host.strip("[]")
        if "{" in host:
            # A pattern may match a dot where no probe looked; then labels would move.
            if not all(_IN_LABEL.fullmatch(captured[name]) for name in BRACED.findall(host)):
                return None
            filled = BRACED.sub(lambda name: captured[name[1]].decode("ascii"), host).lower()
            encoded = filled.encode()
            last = encoded.rstrip(b".").rpartition(b".")[2]
            if not _is_host(encoded) or _NUMERIC.fullmatch(last) or last == b"localhost":
                return None
            host = filled
        port = self.port
        if isinstance(port, str):
            digits = captured[port]
            if not (digits.isdigit() and len(digits) <= 5 and digits[:1] != b"0" and int(digits) <= 65535):
                return None
            port = int(digits)
        shown = f"[{host}]" if ":" in host else host
        if port != _DEFAULT_PORTS[self.scheme]:
            shown = f"{shown}:{port}"
        return UpstreamAddress(self.scheme, host, port, shown.encode("ascii"), "{" in self.host)


def _port(text: str | None, scheme: str, where: Mapping[str, str]) -> int | str:
    if text is None:
        return _DEFAULT_PORTS[scheme]
    if name := BRACED.fullmatch(text):
        if not _DIGITS_ONLY.fullmatch(where[name[1]]):
            raise ValueError(
                f'a port pinned by a pattern of digits, such as "[0-9]{{5}}"; that of {name[0]} is not'
            )
        return name[1]
    if not (re.fullmatch("[0-9]{1,5}", text) and 1 <= int(text) <= 65535):
        # Who writes a number need not hear of names in braces.
        named = "" if text.isdigit() else ", or one name whose pattern is made of digits"
        raise ValueError(f"a port from 1 to 65535{named}")
    return int(text)


def _is_host(host: bytes) -> bool:
    labels = host.removesuffix(b".").split(b".")
    return len(host) <= 253 and all(_LABEL.fullmatch(label) for label in labels)


def _is_address(host: str) -> bool:
    try:
        return host[:1] == "[" and "%" not in host and bool(IPv6Address(host[1:-1]).packed)
    except AddressValueError:
        return False
