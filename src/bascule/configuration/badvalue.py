"""The errors by which our types refuse a value; `bascule.configuration.problems` turns them into words."""

from __future__ import annotations

from pydantic_core import PydanticCustomError

__all__ = ["malformed", "not_allowed"]


def malformed(allowed: str) -> PydanticCustomError:
    """Return the error for a value of another form: the operator is told what the key's schema allows.

    Args:
        allowed: The same, for a value that is no key's.
    """
    return PydanticCustomError("malformed", "{allowed}", {"allowed": allowed})


def not_allowed(allowed: str, **context: object) -> PydanticCustomError:
    """Return the error for a value that is refused for a reason of its own.

    Args:
        allowed: What the operator is told is allowed.
        context: ``found`` and ``key``, where the operator is to be told others than pydantic knows.
    """
    return PydanticCustomError("bascule", "{allowed}", {"allowed": allowed, **context})
