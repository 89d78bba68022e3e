"""What a call to the admin listener carries: the configuration's token, or a field that no page can send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bascule.configuration.admintoken import has_control
from bascule.configuration.namedfile import ALLOWED, read_file
from bascule.errors import ConfigError

if TYPE_CHECKING:
    from bascule.configuration.config import Config

__all__ = ["CSRF_FIELD", "read_token"]

CSRF_FIELD: Final = "X-Bascule-Admin"
"""With any value, in a call that changes something and has no token."""

_TOKEN: Final = "a token on one line, in UTF-8"


def read_token(config: Config) -> str | None:
    """Return the admin token of the configuration, ``None`` if there is none.

    A blank file is an error and does not mean "no token": a secret that the operator forgot to
    fill in must not open what it was meant to close.

    Raises:
        ConfigError: The token's file cannot be read, or holds none, or one that no request can send.
    """
    if (file := config.admin_token_file) is None:
        return config.admin_token
    try:
        token = read_file(file).decode().strip()
    except OSError as error:
        raise ConfigError([f"adminTokenFile: {error.strerror}: {file}; allowed: {ALLOWED}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"adminTokenFile: not UTF-8: {file}; allowed: {_TOKEN}"]) from error
    if not token:
        raise ConfigError([f"adminTokenFile: there is no token in {file}; allowed: {_TOKEN}"])
    if has_control(token):
        found = f"the token in {file} has several lines, or a control character"
        raise ConfigError([f"adminTokenFile: {found}; allowed: {_TOKEN}"])
    return token
