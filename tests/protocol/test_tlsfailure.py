"""How TLS fails in words of ours, none of which was sent by the other side."""

from __future__ import annotations

import errno
import ssl

import pytest

from bascule.protocol.tlsfailure import (
    ALERTS,
    alert,
    errno_name,
    is_plain_http,
    refused_certificate,
    tls_failure,
)

ASKS = "asks for a certificate of ours"
REFUSES = "does not accept our certificate"


def broke(reason: str | None) -> ssl.SSLError:
    """Return an error of OpenSSL's, whose text quotes the peer."""
    error = ssl.SSLError(1, "sent by the peer")
    error.reason = reason  # type: ignore[assignment]
    return error


def distrust(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "sent by the peer")
    error.verify_code = code
    return error


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", ASKS),
        ("TLSV1_ALERT_UNKNOWN_CA", REFUSES),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", REFUSES),
        ("TLS_ALERT_BAD_CERTIFICATE", REFUSES),
        ("TLSV1_ALERT_ACCESS_DENIED", REFUSES),
    ],
)
def test_what_a_server_has_against_our_certificate_is_said(reason: str, said: str) -> None:
    error = broke(reason)

    assert alert(error) == f"the upstream {said}"
    assert alert(error, "it") == f"it {said}"
    assert tls_failure(error) == f"TLS handshake failed: the upstream {said}"
    assert tls_failure(error, "it") == f"TLS handshake failed: it {said}"
    assert alert(error) in ALERTS


@pytest.mark.parametrize(
    "error", [None, OSError(errno.EPROTO, ASKS), ssl.SSLError(1, "no reason"), broke(None), broke("OTHER")]
)
def test_nothing_else_is_about_our_certificate(error: BaseException | None) -> None:
    assert alert(error) is None


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (distrust(9), "TLS handshake failed: the certificate is not valid yet"),
        (distrust(10), "TLS handshake failed: the certificate has expired"),
        (distrust(20), "TLS handshake failed: the certificate's CA is not trusted"),
        (distrust(26), "TLS handshake failed: the certificate is for another purpose"),
        (distrust(64), "TLS handshake failed: the certificate is for another name"),
        (distrust(99), "TLS handshake failed: the certificate is not valid"),
        (broke("WRONG_VERSION_NUMBER"), "TLS handshake failed: it does not speak TLS"),
        (broke("SSLV3_ALERT_HANDSHAKE_FAILURE"), "TLS handshake failed"),
        (TimeoutError(), "TLS handshake timed out"),
        (ConnectionAbortedError(), "TLS handshake timed out"),
        (ConnectionResetError(), "TLS handshake failed: ECONNRESET"),
        (TimeoutError(errno.ETIMEDOUT, "sent"), "TLS handshake failed: ETIMEDOUT"),
        (OSError(errno.EPIPE, "sent"), "TLS handshake failed: EPIPE"),
    ],
)
def test_every_other_failure_has_words_of_its_own(error: OSError, said: str) -> None:
    assert tls_failure(error, "it") == said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (distrust(10), "the certificate has expired"),
        (distrust(26), "the certificate is for another purpose"),
        (distrust(99), "the certificate is not valid"),
        (broke("PEER_DID_NOT_RETURN_A_CERTIFICATE"), "the client shows no certificate"),
        (broke("TLSV1_ALERT_UNKNOWN_CA"), "the client does not accept our certificate"),
    ],
)
def test_a_certificate_that_ends_a_handshake_with_a_client_has_a_reason(error: OSError, said: str) -> None:
    assert refused_certificate(error) == said


@pytest.mark.parametrize(
    "error",
    [broke("HTTP_REQUEST"), broke(None), ConnectionResetError(), TimeoutError(), OSError(errno.EPIPE, "")],
)
def test_a_handshake_that_a_client_breaks_off_is_about_no_certificate(error: OSError) -> None:
    assert refused_certificate(error) is None


@pytest.mark.parametrize(
    ("error", "is_plain"),
    [(broke("HTTP_REQUEST"), True), (broke("WRONG_VERSION_NUMBER"), False), (ConnectionResetError(), False)],
)
def test_a_request_without_tls_is_told_from_other_failures(error: OSError, is_plain: bool) -> None:
    assert is_plain_http(error) is is_plain


def test_a_number_of_openssls_is_not_taken_for_the_kernels() -> None:
    assert errno_name(ssl.SSLError(1, "which would be EPERM")) == "EPROTO"
    assert errno_name(OSError(errno.ECONNREFUSED, "")) == "ECONNREFUSED"
    assert errno_name(OSError("without a number")) == "EIO"
