import ssl

import pytest

from pnyx.node.transport.identity import explain


def failure(kind: type[ssl.SSLError], **fields: object) -> ssl.SSLError:
    error = kind(1, "made for a test")
    for name, value in fields.items():
        setattr(error, name, value)
    return error


@pytest.mark.parametrize(
    ("code", "sentence"), [(9, "not valid yet"), (10, "expired"), (20, "did not sign")]
)
def test_bad_certificates_of_peers(code: int, sentence: str) -> None:
    error = failure(ssl.SSLCertVerificationError, verify_code=code)
    assert sentence in explain(error)


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "refused our certificate as expired"),
        ("TLSV1_ALERT_UNKNOWN_CA", "ask this network's authority"),
        ("SSLV3_ALERT_BAD_CERTIFICATE", "ask this network's authority"),
        ("TLSV1_ALERT_PROTOCOL_VERSION", "does not speak TLS 1.3"),
        ("UNSUPPORTED_PROTOCOL", "does not speak TLS 1.3"),
        ("DECRYPTION_FAILED_OR_BAD_RECORD_MAC", "(decryption failed or bad record mac)"),
        (None, "(no reason given)"),
    ],
)
def test_other_failures(reason: str | None, sentence: str) -> None:
    assert sentence in explain(failure(ssl.SSLError, reason=reason))
