"""The key that session cookies are checked with, as the gateway reads it at its start."""

from __future__ import annotations

import hmac
import os
import time
import warnings
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Any, get_args

import jwt
import pytest

from bascule.configuration.auth import Algorithm, SessionAuth
from bascule.configuration.route import AuthMode, RouteConfig
from bascule.errors import ConfigError, NotPermitted, RequestRefused
from bascule.gateway.sessions.auth import SessionTokens
from bascule.policy.login import Login
from bascule.policy.routes import RouteTable

if TYPE_CHECKING:
    from pathlib import Path

    from bascule.policy.routes import Match

KEY = b"k" * 64
HEADER = '{"alg": "HS512"}'
PEM = b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAhidden\n-----END PUBLIC KEY-----\n"


def _tokens(folder: Path, key: bytes, *algorithms: Algorithm) -> SessionTokens:
    file = folder / "key"
    file.write_bytes(key)
    return SessionTokens(SessionAuth(key_file=file, algorithms=algorithms or ("HS512",)), needed=True)


def test_a_key_in_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "key"
    os.mkfifo(pipe)
    with pytest.raises(ConfigError) as refused:
        SessionTokens(SessionAuth(key_file=pipe), needed=True)
    (problem,) = refused.value.problems
    assert problem.startswith(
        f"auth.session.keyFile: Not a regular file: {pipe}; allowed: a regular file of "
    )


def _signed(key: bytes, algorithm: str, user: str = "meb10000") -> list[bytes]:
    claims = {"sub": user, "aud": "PROXY", "exp": int(time.time()) + 3600}
    return [b"proxy_session=" + jwt.encode(claims, key, algorithm=algorithm).encode()]


@pytest.mark.parametrize("algorithm", get_args(Algorithm))
def test_every_algorithm_that_may_be_configured_can_be_checked(tmp_path: Path, algorithm: Algorithm) -> None:
    # Those with a pair of keys need the package cryptography, which is no dependency: every
    # token was refused with 401.
    tokens = _tokens(tmp_path, KEY, algorithm)
    assert tokens.check(_signed(KEY, algorithm)) == "meb10000"
    assert tokens.check(_signed(b"x" * 64, algorithm)) is None


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(PEM, id="public-key"),
        pytest.param(PEM.replace(b"PUBLIC KEY", b"CERTIFICATE"), id="certificate"),
        pytest.param(b"ssh-ed25519 AAAAhidden me@here", id="ssh"),
        pytest.param(b'{"kty": "oct", "k": "hidden"}', id="jwk"),
    ],
)
def test_a_key_that_no_token_can_be_signed_with_ends_the_start(tmp_path: Path, key: bytes) -> None:
    with pytest.raises(ConfigError) as refused:
        _tokens(tmp_path, key, "HS256", "HS512")
    (problem,) = refused.value.problems
    assert problem.startswith("auth.session.keyFile: found ")
    assert str(tmp_path / "key") in problem
    assert "allowed: " in problem
    assert "hidden" not in problem


def test_a_short_key_is_told_at_the_start_and_not_by_a_library_at_each_login(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        tokens = _tokens(tmp_path, b"short")
        cookies = _signed(b"short", "HS512")
        assert tokens.check(cookies) == "meb10000"
    assert said == []


def test_white_space_around_the_key_is_not_part_of_it(tmp_path: Path) -> None:
    assert _tokens(tmp_path, b" \n" + KEY + b"\r\n").check(_signed(KEY, "HS512")) == "meb10000"


@pytest.mark.parametrize(("user", "let_in"), [("", False), ("a" * 1024, True), ("ä" * 513, False)])
def test_a_name_that_nobody_has_is_not_let_in(tmp_path: Path, user: str, let_in: bool) -> None:
    # It is kept with the session, in a message of bounded length.
    tokens = _tokens(tmp_path, KEY)
    assert tokens.check(_signed(KEY, "HS512", user)) == (user if let_in else None)


@pytest.mark.parametrize("error", [jwt.DecodeError, ValueError, TypeError, OverflowError, RecursionError])
def test_whatever_goes_wrong_with_a_token_refuses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    # Older PyJWT: RecursionError for a header that anybody could send, OverflowError for an endless exp.
    def broken(*_: object, **__: object) -> None:
        raise error

    tokens = _tokens(tmp_path, KEY)
    monkeypatch.setattr(jwt, "decode", broken)

    assert tokens.check(_signed(KEY, "HS512")) is None


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        pytest.param("[" * 100_000, "{}", id="deep header"),
        pytest.param(HEADER, "[" * 100_000, id="deep claims"),
        pytest.param(HEADER, '{"sub": "a", "aud": "PROXY", "exp": 1e400}', id="endless exp"),
        pytest.param(HEADER, '{"sub": "a", "aud": "PROXY", "exp": []}', id="exp is a list"),
    ],
)
def test_a_malformed_token_is_refused_though_its_signature_is_right(
    tmp_path: Path, header: str, claims: str
) -> None:
    signed = b".".join(urlsafe_b64encode(part.encode()).rstrip(b"=") for part in (header, claims))
    signature = urlsafe_b64encode(hmac.digest(KEY, signed, "sha512")).rstrip(b"=")

    assert _tokens(tmp_path, KEY).check([b"proxy_session=" + signed + b"." + signature]) is None


def _match(**more: Any) -> Match:
    route = RouteConfig(name="r", path="/", upstream="http://r", auth=AuthMode.SESSION, **more)
    match = RouteTable([route]).match(b"/")
    assert match is not None
    return match


def test_who_must_be_known_is_named_or_refused(tmp_path: Path) -> None:
    tokens = _tokens(tmp_path, KEY)
    assert tokens.require(_signed(KEY, "HS512", "ada"), _match()).user == "ada"
    for cookies in ([], [b"proxy_session=x"], [b"other=x"]):
        with pytest.raises(RequestRefused) as refused:
            tokens.require(cookies, _match())
        assert (refused.value.status, refused.value.detail) == (401, "Unauthorized access.")
        # RFC 9110 §15.5.2 wants a challenge; one that browsers know would have them ask for a password.
        assert refused.value.fields == (
            (b"WWW-Authenticate", b'Cookie realm="bascule", cookie-name=proxy_session'),
        )


@pytest.mark.parametrize(("exp", "expires"), [(2**40 + 0.9, 2**40), (str(2**40), 2**40), (10**400, 2**53)])
def test_a_login_says_when_its_token_expires(tmp_path: Path, exp: object, expires: int) -> None:
    token = jwt.encode({"sub": "ada", "aud": "PROXY", "exp": exp}, KEY, "HS512")
    cookies = [b"proxy_session=" + token.encode()]
    assert _tokens(tmp_path, KEY).require(cookies, _match()) == Login("ada", expires)


def test_a_login_that_is_not_the_one_demanded_is_told_the_claim_and_not_what_it_says(tmp_path: Path) -> None:
    tokens = _tokens(tmp_path, KEY)
    match = _match(required_claims={"sub": "bob"})
    assert tokens.require(_signed(KEY, "HS512", "bob"), match).user == "bob"
    with pytest.raises(NotPermitted) as refused:
        tokens.require(_signed(KEY, "HS512", "ada"), match)
    assert (refused.value.status, refused.value.user) == (403, "ada")
    assert '"sub"' in refused.value.detail
    assert "ada" not in refused.value.detail
    assert "bob" not in refused.value.detail


def test_a_routes_own_audiences_take_the_place_of_the_usual_one(tmp_path: Path) -> None:
    tokens = _tokens(tmp_path, KEY)
    for audiences, let_in in ((("OTHER",), False), (("OTHER", "PROXY"), True), ((), True)):
        match = _match(audiences=audiences)
        if let_in:
            assert tokens.require(_signed(KEY, "HS512"), match).user == "meb10000"
            continue
        with pytest.raises(RequestRefused) as refused:
            tokens.require(_signed(KEY, "HS512"), match)
        assert refused.value.status == 401
