"""What can be the admin listener's token."""

from typing import Annotated

from pydantic import AfterValidator, Field

from bascule.configuration.badvalue import not_allowed

__all__ = ["Token", "has_control"]


def _token(text: str) -> str:
    # What a caller sends is stripped, and so is the file: white space kept here would match nothing.
    if not (token := text.strip()):
        raise not_allowed("text with a token in it, or null", found="")
    if has_control(token):
        raise not_allowed("text on one line, without control characters: no request could send another")
    return token


def has_control(token: str) -> bool:
    """Tell whether a token has a character that no field of a request can have (RFC 9110 §5.5)."""
    return any((char < " " and char != "\t") or char == "\x7f" for char in token)


Token = Annotated[
    str,
    AfterValidator(_token),
    Field(json_schema_extra={"x-allowed": "text with a token in it", "pattern": r"\S"}),
]
