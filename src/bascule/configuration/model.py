"""The base of every configuration model, and how its fields are named.

A *key path* is a tuple of the keys as files have them: ``("drain", "rate")``. A leaf
is a key whose value is not a block; a list, `routes` too, is one leaf, because
it is replaced as a whole by the next source.
"""

from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

from bascule.configuration.badvalue import malformed

__all__ = ["Block", "File", "KeyPath", "blocks", "files", "leaves"]

KeyPath = tuple[str, ...]


class Block(BaseModel):
    """A frozen block of keys: camelCase outside, snake_case inside, nothing unknown."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=True,  # the code and its tests build models with Python's names
        serialize_by_alias=True,
        extra="forbid",
        frozen=True,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _whole(cls, value: object, info: ValidationInfo) -> object:
        """Take 500.0 and 5e2 for 500, as JSON Schema does, and with it Helm, where an integer is wanted."""
        if isinstance(value, float) and value.is_integer():
            return int(value) if _is_integer(cls.model_fields[str(info.field_name)].annotation) else value
        return value


def _file(value: object) -> object:
    # Path("") is the current directory: an empty value is a slip, not a file.
    if isinstance(value, Path) or (isinstance(value, str) and value and "\0" not in value):
        return value
    raise malformed("the path of a file")


File = Annotated[
    Path,
    BeforeValidator(_file),
    WithJsonSchema({"x-allowed": "the path of a file", "type": "string", "minLength": 1}),
]
"""The path of a file. The code that needs its content reads it, not the loader."""


def leaves(model: type[Block], above: KeyPath = ()) -> Iterator[tuple[KeyPath, FieldInfo]]:
    """Yield every leaf of a model in the order of its fields."""
    for key, field in _keys(model):
        block = _block(field)
        if block is None:
            yield (*above, key), field
        else:
            yield from leaves(block, (*above, key))


def files(block: Block, above: KeyPath = ()) -> Iterator[tuple[KeyPath, Path]]:
    """Yield the keys of a configuration that name a file, and the file, in the order of its fields."""
    for name, field in type(block).model_fields.items():
        key, value = str(field.alias), getattr(block, name)
        if isinstance(value, Block):
            yield from files(value, (*above, key))
        elif isinstance(value, Path):
            yield (*above, key), value


def blocks(model: type[Block], above: KeyPath = ()) -> Iterator[tuple[KeyPath, type[Block], FieldInfo]]:
    """Yield every block below a model, outer ones first."""
    for key, field in _keys(model):
        if block := _block(field):
            yield (*above, key), block, field
            yield from blocks(block, (*above, key))


def _keys(model: type[Block]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        yield field.alias or name, field


def _is_integer(kind: Any) -> bool:
    """Tell whether a field has a whole number, or may have one."""
    kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    return kind is int or (get_origin(kind) in (Union, UnionType) and any(map(_is_integer, get_args(kind))))


def _block(field: FieldInfo) -> type[Block] | None:
    kind: Any = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Block) else None
