"""What a key accepts, in words: for error messages and the reference page.

Rules of this file: everything is derived from the JSON schema that pydantic makes of the
models. A type whose schema says too little (an endpoint, a duration) carries its words
in the private keyword ``x-allowed``; ``x-secret`` and ``x-duration`` mark values that are
printed in a special form.
"""

from __future__ import annotations

from functools import cache
from typing import cast

from bascule.configuration.config import Config

__all__ = ["Schema", "allowed_at", "is_secret", "schema_at"]

Schema = dict[str, object]


@cache
def _whole() -> Schema:
    return Config.model_json_schema(by_alias=True, mode="validation")


def schema_at(path: tuple[str | int, ...]) -> Schema | None:
    """Return the schema of a key, references resolved; ``None`` if there is no such key."""
    schema: Schema | None = _resolved(_whole())
    for step in path:
        if schema is None:
            return None
        schema = _inside(_alternative(schema), step)
    return schema


def allowed_at(path: tuple[str | int, ...]) -> str:
    """Say what a key accepts, such as ``a whole number from 1 to 2147483647``."""
    schema = schema_at(path)
    return "nothing" if schema is None else _words(schema)


def is_secret(path: tuple[str | int, ...]) -> bool:
    """Tell whether the value of a key must not be shown."""
    schema = schema_at(path)
    return schema is not None and "x-secret" in schema


def _resolved(schema: Schema) -> Schema:
    if isinstance(reference := schema.get("$ref"), str):
        definitions = cast("dict[str, Schema]", _whole()["$defs"])
        return {
            **definitions[reference.rpartition("/")[2]],
            **{k: v for k, v in schema.items() if k != "$ref"},
        }
    return schema


def _alternative(schema: Schema) -> Schema:
    """Return the schema of a nullable key for values other than null."""
    options = cast("list[Schema]", schema.get("anyOf", [schema]))
    return _resolved(next(option for option in options if option.get("type") != "null"))


def _inside(schema: Schema, step: str | int) -> Schema | None:
    if isinstance(step, int):
        found = schema.get("items")
    else:
        properties = cast("Schema", schema.get("properties", {}))
        found = properties.get(step, schema.get("additionalProperties"))
    return _resolved(cast("Schema", found)) if isinstance(found, dict) else None


def _words(schema: Schema) -> str:
    if isinstance(words := schema.get("x-allowed"), str):
        return words
    if "anyOf" in schema:
        return f"{_words(_alternative(schema))}, or null"
    if "enum" in schema:
        *most, last = [f'"{value}"' for value in cast("list[object]", schema["enum"])]
        return f"{', '.join(most)} or {last}"
    kind = schema.get("type")
    if kind in {"integer", "number"}:
        return _number(schema, "a whole number" if kind == "integer" else "a number")
    if kind == "array":
        return f"a list; each entry: {_words(_resolved(cast('Schema', schema['items'])))}"
    if kind == "object":
        return "a block of keys"
    if kind == "boolean":
        return "true or false"
    return "text" if "maxLength" not in schema else f"text of 1 to {schema['maxLength']} characters"


def _number(schema: Schema, noun: str) -> str:
    least, most, above = (schema.get(key) for key in ("minimum", "maximum", "exclusiveMinimum"))
    if above is not None:
        return f"{noun} above {above}" + ("" if most is None else f" and at most {most}")
    return f"{noun} of at least {least}" if most is None else f"{noun} from {least} to {most}"
