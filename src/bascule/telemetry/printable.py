"""Make text from a peer safe to print: no control characters, no line ends, no endless lines.

A path, a user name or a close reason may carry CR and LF (to forge a log line), ANSI escapes (to
rewrite the reader's terminal), U+2028 (a line end to some viewers) or bidirectional overrides (to
show one thing and be another). Python calls all of these *not printable*, like lone surrogates and
unassigned code points, so one fast call of ``str.isprintable`` recognises the common, harmless text.

Rules of this file: pure; never raises; the output is printable, and that of `printable` is bounded.
"""

from __future__ import annotations

__all__ = ["escaped", "printable"]


def printable(text: str | bytes, limit: int) -> str:
    r"""Return the text with everything unprintable escaped, cut to `limit` characters.

    Args:
        text: From a peer. Bytes are read as UTF-8; what is not is shown as ``\xNN``.
        limit: Characters of the input that are kept. An escape replaces one by at most ten.

    Returns:
        The text itself when it is harmless and short, which costs next to nothing. A cut is
        shown as ``…`` at the end.
    """
    if isinstance(text, str) and len(text) <= limit and text.isprintable():
        return text
    if isinstance(text, bytes):
        # Four bytes are one character at most: no need to decode a megabyte to keep 100 characters.
        text = text[: 4 * limit + 4].decode("utf-8", "backslashreplace")
    cut = len(text) > limit
    if cut:
        text = text[:limit]
    text = escaped(text)
    return text + "…" if cut else text


def escaped(text: str) -> str:
    """Return the text with everything unprintable escaped, however long that is."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
