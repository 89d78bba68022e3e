"""What the public listener ends TLS with, and what is said when it cannot."""

from __future__ import annotations

import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

from bascule.errors import ConfigError
from bascule.policy.certificate import server_context
from bascule.policy.config import Tls
from tests.support.certificates import Certificate, make_certificate
from tests.support.parts import require

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


def problem(certificate: Path, key: Path) -> str:
    with pytest.raises(ConfigError) as refused:
        server_context(Tls(certificate=certificate, key=key))
    (said,) = refused.value.problems
    return said


def test_without_a_certificate_there_is_no_tls() -> None:
    assert server_context(Tls()) is None


def test_a_certificate_and_its_key_are_used_for_http_1_alone(made: Certificate) -> None:
    context = server_context(Tls(certificate=made.certificate, key=made.key))
    assert context is not None
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert not context.check_hostname  # it is the server's side


def test_files_that_are_something_else_are_named(made: Certificate) -> None:
    said = problem(made.key, made.certificate)
    assert said.startswith(
        f"tls.certificate: {made.key} and {made.certificate} cannot be used: not what they "
    )
    assert said.endswith("; allowed: a certificate and its key in PEM")


@pytest.mark.parametrize("kind", ["EC", "RSA"])
def test_a_key_of_another_certificate_is_told_from_what_is_none(
    made: Certificate, tmp_path: Path, kind: str
) -> None:
    other = tmp_path / "other.pem"
    how = {"EC": "ec_paramgen_curve:P-256", "RSA": "rsa_keygen_bits:2048"}[kind]
    command: list[str | Path] = [require("openssl"), "genpkey", "-algorithm", kind, "-pkeyopt", how]
    subprocess.run([*command, "-out", other], check=True, capture_output=True)
    assert "cannot be used: the key is another certificate's; allowed: " in problem(made.certificate, other)


def test_a_key_with_a_passphrase_is_refused_instead_of_asking_for_it(
    made: Certificate, tmp_path: Path
) -> None:
    key = tmp_path / "encrypted.pem"
    command: list[str | Path] = [require("openssl"), "pkey", "-aes128", "-passout", "pass:hush"]
    subprocess.run([*command, "-in", made.key, "-out", key], check=True, capture_output=True)
    said = problem(made.certificate, key)
    assert said == f"tls.key: {key} is encrypted; allowed: a key without a passphrase"


def test_a_file_that_is_not_there_is_named(made: Certificate, tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    assert problem(missing, made.key) == (
        f"tls.certificate: {missing} and {made.key} cannot be used: No such file or directory"
        "; allowed: a certificate and its key in PEM"
    )
