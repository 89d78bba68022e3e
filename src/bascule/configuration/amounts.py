"""Numbers as keys of the configuration take them.

Rules of this file: types only; durations and sizes that are more than a number have files of their own.
"""

from typing import Annotated, Final

from pydantic import Field

__all__ = ["INT_MAX", "Count", "JavaLong", "Positive", "Share"]

INT_MAX: Final = 2147483647
"""The original reads three of its keys as Java ints; the same files must stay valid in both."""

Positive = Annotated[int, Field(strict=True, ge=1, le=INT_MAX)]
JavaLong = Annotated[int, Field(strict=True, ge=0)]
Count = Annotated[int, Field(strict=True, ge=0, le=INT_MAX)]
Share = Annotated[float, Field(strict=True, gt=0, le=1, allow_inf_nan=False)]
