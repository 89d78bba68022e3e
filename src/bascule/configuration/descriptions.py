"""What each key means, in the words of the docstring that follows it in its model.

pydantic would read these whenever a model is made (``use_attribute_docstrings``): a fifth of what making them
costs, at every start. But only the published schema, the reference and the chart's values need them.

Rules of this file: nobody calls it on the way to serving.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import GenerateJsonSchema

from bascule.configuration.endpoints import Endpoint, SocketFile
from bascule.configuration.model import Block

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core.core_schema import ModelSchema

__all__ = ["DescribedSchema", "descriptions"]


class DescribedSchema(GenerateJsonSchema):
    """Makes a model's JSON schema for an editor: each key described, and defaults as they stand in a file."""

    def encode_default(self, dft: Any) -> Any:
        """Return a default; an address as its text, not as a block of its parts."""
        return super().encode_default(str(dft) if isinstance(dft, (Endpoint, SocketFile)) else dft)

    def model_schema(self, schema: ModelSchema) -> JsonSchemaValue:
        """Make the schema of one model."""
        made = super().model_schema(schema)
        for key, text in descriptions(schema["cls"]).items():
            made["properties"][key]["description"] = text
        return made


def descriptions(model: type[Block]) -> Mapping[str, str]:
    """Return what the keys of a model mean; none is described where modules have no source beside them."""
    written: dict[str, str] = {}
    for above in reversed(model.__mro__):
        if issubclass(above, Block):
            written.update(_docstrings(above))
    means = {field.alias or name: written.get(name) for name, field in model.model_fields.items()}
    return {key: text for key, text in means.items() if text}


def _docstrings(model: type[Block]) -> Iterator[tuple[str, str]]:
    """Yield the fields that a model itself has, each with the string that follows it, empty if none does."""
    try:
        text = inspect.getsource(model)
    except OSError:
        return
    (source,) = ast.parse(textwrap.dedent(text)).body
    assert isinstance(source, ast.ClassDef)
    for statement, after in pairwise((*source.body, None)):
        match statement, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(said))):
                yield name, inspect.cleandoc(said)
            case ast.AnnAssign(target=ast.Name(id=name)), _:
                yield name, ""
            case _:
                pass
