"""Fields of HTTP, as the raw peers of the tests read them."""

from collections.abc import Iterable

__all__ = ["Fields", "HasFields", "read_fields"]

Fields = list[tuple[bytes, bytes]]


class HasFields:
    """A head that was read."""

    fields: Fields

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of one field."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def value(self, name: bytes) -> bytes | None:
        """Return the value of a field that is there at most once."""
        values = self.values(name)
        assert len(values) <= 1, f"{name!r} is there {len(values)} times"
        return values[0] if values else None


def read_fields(lines: Iterable[bytes]) -> Fields:
    """Read field lines, in order."""
    parts = [line.partition(b":") for line in lines]
    assert all(colon for _, colon, _ in parts), parts
    return [(name, value.strip(b" \t")) for name, _, value in parts]
