"""What listeners end TLS with, and what speaks it to upstreams; and what is said when that cannot be."""

from __future__ import annotations

import os
import ssl
import subprocess
from pathlib import Path

import pytest

from bascule.configuration.certificate import (
    check_certificates,
    listener_context,
    own_context,
    peer_context,
    upstream_context,
)
from bascule.configuration.config import AdminTls, Config, Tls, UpstreamTls
from bascule.errors import ConfigError
from tests.support.authority import Authority, make_authority
from tests.support.certificates import Certificate, make_certificate
from tests.support.parts import require


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


def problem(certificate: Path, key: Path) -> str:
    with pytest.raises(ConfigError) as refused:
        listener_context(Tls(certificate=certificate, key=key))
    (said,) = refused.value.problems
    return said


def test_without_a_certificate_there_is_no_tls() -> None:
    assert listener_context(Tls()) is None


def test_a_certificate_and_its_key_are_used_for_http_1_alone(made: Certificate) -> None:
    context = listener_context(Tls(certificate=made.certificate, key=made.key))
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


def test_a_pipe_and_a_device_are_named_and_not_read(made: Certificate, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for certificate, key in ((pipe, made.key), (made.certificate, Path("/dev/zero"))):
        said = problem(certificate, key)
        assert said.startswith(
            f"tls.certificate: {certificate} and {key} cannot be used: Not a regular file;"
        )
    said = problem_with(ca=pipe)
    assert said.startswith(f"upstreamTls.ca: {pipe} cannot be used: Not a regular file; allowed: ")


# -- towards upstreams ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authorities") / "ours")


def problem_with(**keys: object) -> str:
    with pytest.raises(ConfigError) as refused:
        upstream_context(UpstreamTls.model_validate(keys))
    (said,) = refused.value.problems
    return said


def test_without_a_ca_upstreams_are_checked_by_those_of_the_system() -> None:
    context = upstream_context(UpstreamTls())
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.cert_store_stats()["x509_ca"] == ssl.create_default_context().cert_store_stats()["x509_ca"]
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_a_ca_takes_the_place_of_the_systems(authority: Authority) -> None:
    context = upstream_context(UpstreamTls(ca=authority.ca))
    assert context.cert_store_stats()["x509"] == 1
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_what_is_not_to_be_checked_is_not_though_there_is_a_ca(authority: Authority) -> None:
    context = upstream_context(UpstreamTls(ca=authority.ca, verify=False))
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)


def test_a_ca_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    assert problem_with(ca=missing) == (
        f"upstreamTls.ca: {missing} cannot be used: No such file or directory"
        "; allowed: certificates of CAs in PEM"
    )


@pytest.mark.parametrize(
    "text", ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_file_without_a_ca_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(text)
    assert problem_with(ca=file).startswith(
        f"upstreamTls.ca: {file} cannot be used: not what they should be ("
    )


def test_a_file_of_nothing_but_a_revocation_list_would_trust_nobody(
    authority: Authority, tmp_path: Path
) -> None:
    authority.issue("any")
    file = tmp_path / "list.pem"
    command: list[str | Path] = [require("openssl"), "ca", "-gencrl", "-crldays", "1"]
    command += ["-config", authority.home / "settings", "-cert", authority.ca]
    subprocess.run(
        [*command, "-keyfile", authority.home / "ca.key.pem", "-out", file], check=True, capture_output=True
    )
    assert problem_with(ca=file) == (
        f"upstreamTls.ca: {file} cannot be used: no certificate is in it; allowed: certificates of CAs in PEM"
    )


def test_a_certificate_for_upstreams_that_cannot_be_used_is_named_by_its_key(
    authority: Authority, made: Certificate
) -> None:
    ours = authority.issue("ours")
    assert problem_with(certificate=ours.certificate, key=made.key).startswith(
        f"upstreamTls.certificate: {ours.certificate} and {made.key} cannot be used: the key is another "
    )
    upstream_context(UpstreamTls(certificate=ours.certificate, key=ours.key))


# -- certificates of callers, and the admin listener ------------------------------------------------------


def test_without_a_certificate_the_admin_listener_and_those_of_peers_speak_plainly() -> None:
    assert listener_context(AdminTls()) is None
    assert peer_context(AdminTls()) is None


def test_callers_are_asked_for_a_certificate_where_there_is_a_ca(
    authority: Authority, made: Certificate
) -> None:
    pair = {"certificate": made.certificate, "key": made.key}
    for ca, wanted in ((None, ssl.CERT_NONE), (authority.ca, ssl.CERT_REQUIRED)):
        for context in (
            listener_context(Tls(**pair, client_ca=ca)),
            listener_context(AdminTls(**pair, client_ca=ca)),
        ):
            assert context is not None
            assert context.verify_mode == wanted
            assert not context.check_hostname


@pytest.mark.parametrize("strict", [0, 0x20])
def test_a_ca_means_the_same_in_every_python(
    monkeypatch: pytest.MonkeyPatch, authority: Authority, made: Certificate, strict: int
) -> None:
    """Python 3.13 has X509_V_FLAG_X509_STRICT in its default contexts."""
    default = ssl.create_default_context

    def stricter(purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH) -> ssl.SSLContext:
        context = default(purpose)
        context.verify_flags |= strict
        return context

    monkeypatch.setattr(ssl, "create_default_context", stricter)
    tls = AdminTls(certificate=made.certificate, key=made.key, client_ca=authority.ca, peer_ca=authority.ca)
    for context in (listener_context(tls), peer_context(tls), upstream_context(UpstreamTls(ca=authority.ca))):
        assert context is not None
        assert not context.verify_flags & ssl.VERIFY_X509_STRICT
        assert context.verify_flags & ssl.VERIFY_X509_PARTIAL_CHAIN


def test_peers_are_checked_by_a_ca_of_theirs_or_the_systems(authority: Authority, made: Certificate) -> None:
    pair = {"certificate": made.certificate, "key": made.key}
    ours, systems = peer_context(AdminTls(**pair, peer_ca=authority.ca)), peer_context(AdminTls(**pair))
    assert ours is not None
    assert systems is not None
    assert ours.cert_store_stats()["x509"] == 1
    assert systems.cert_store_stats() == ssl.create_default_context().cert_store_stats()
    for context in (ours, systems):
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_the_files_of_the_admin_listener_are_named_by_their_keys_and_once(
    made: Certificate, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("no PEM")
    for keys, named in (
        ({"certificate": bad, "key": bad}, ["adminTls.certificate"]),
        (
            {**made.block(), "client_ca": bad, "peer_ca": bad},
            ["adminTls.clientCa", "adminTls.peerCa"],
        ),
    ):
        with pytest.raises(ConfigError) as refused:
            check_certificates(Config(admin_tls=AdminTls.model_validate(keys)))
        assert [each.partition(":")[0] for each in refused.value.problems] == named
    with pytest.raises(ConfigError, match=r"^tls\.clientCa: "):
        check_certificates(Config(tls=Tls.model_validate({**made.block(), "client_ca": bad})))


def test_all_that_cannot_be_used_is_told_at_once(made: Certificate, tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    with pytest.raises(ConfigError) as refused:
        check_certificates(
            Config(
                tls=Tls(certificate=missing, key=made.key),
                upstream_tls=UpstreamTls(ca=missing),
            )
        )
    assert [each.partition(":")[0] for each in refused.value.problems] == [
        "tls.certificate",
        "upstreamTls.ca",
    ]
    check_certificates(Config(tls=Tls(certificate=made.certificate, key=made.key)))


def test_our_own_listener_is_known_by_its_certificate_whatever_name_that_is_for(made: Certificate) -> None:
    assert own_context(AdminTls()) is None
    context = own_context(AdminTls(certificate=made.certificate, key=made.key))
    assert context is not None
    assert not context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1, "and no other is trusted"
