"""Puts the fields of a request into the form that aiohttp's client takes: text, a character for each byte.

Rules of this file: no field is decided here (`bascule.policy.forwarding`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from multidict import CIMultiDict, istr

if TYPE_CHECKING:
    from bascule.policy.fieldlines import Fields

__all__ = ["FieldsAsText"]

_NAMES: Final = 1024
"""Most field names whose decoded form is kept; beyond that the memory is emptied, so it cannot grow."""
_LONGEST_NAME: Final = 64
"""Longer names are not kept."""


class FieldsAsText:
    """Puts fields into that form, and remembers names: browsers send the same ones again and again."""

    def __init__(self) -> None:
        self._names: dict[bytes, istr] = {}

    def of(self, fields: Fields) -> CIMultiDict[str]:
        """Return the fields in their order; names that differ in case only are spelt like the first."""
        names = self._names
        try:
            headers = CIMultiDict([(names[name], value.decode("latin-1")) for name, value in fields])
        except KeyError:
            self._learn(fields)
            headers = CIMultiDict(
                [(names.get(name) or name.decode("ascii"), value.decode("latin-1")) for name, value in fields]
            )
        # Lower-cased: a release of multidict may count names that differ in case as one key, or as two.
        if len(set(map(str.lower, headers))) != len(headers):
            spelt: dict[str, str] = {}
            # For ClientSession, a name that differs from an earlier one in case only would replace that one.
            headers = CIMultiDict(
                [(spelt.setdefault(name.lower(), name), value) for name, value in headers.items()]
            )
        return headers

    def _learn(self, fields: Fields) -> None:
        """Remember the decoded form of these names."""
        if len(self._names) >= _NAMES:
            self._names.clear()
        for name, _ in fields:
            if len(name) <= _LONGEST_NAME:
                self._names[name] = istr(name.decode("ascii"))
