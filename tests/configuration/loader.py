"""What tests ask of the loader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bascule.configuration.loading import load
from bascule.errors import ConfigError

if TYPE_CHECKING:
    from bascule.configuration.loading import Loaded


def problems(
    path: Any = None, environ: dict[str, str] | None = None, overrides: dict[str, object] | None = None
) -> list[str]:
    """Return the problems of a configuration that cannot be used."""
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {}, overrides)
    return caught.value.problems


def set_by(loaded: Loaded) -> dict[str, str]:
    """Return the keys that a source sets, each with the source."""
    return {key: source for key, source in loaded.sources.items() if source != "default"}
