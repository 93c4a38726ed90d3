"""Certificates and their keys as files: for whom, until when, and what is wrong with them.

A private key is read by OpenSSL alone; nothing here has its text in hand, so none can be logged.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ocaserve.findings import Finding, Severity
from ocaserve.settings.tls import Certificate

if TYPE_CHECKING:
    from cryptography import x509

# SSLError.reason where the key is another certificate's: of the same kind of key, or of another.
_MISMATCHES = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"})


class Leaf(NamedTuple):
    """What a certificate says. `names` are DNS names in lower case, some with a `*.` in front."""

    names: frozenset[str]
    not_before: datetime
    not_after: datetime

    def fault_at(self, now: datetime) -> str | None:
        """Why clients refuse it at this time, if they do."""
        if now < self.not_before:
            return f"not valid before {self.not_before:%Y-%m-%d %H:%M} UTC"
        if now > self.not_after:
            return f"expired on {self.not_after:%Y-%m-%d %H:%M} UTC"
        return None


def read_leaf(file: str) -> Leaf:
    """The first certificate of a PEM file. Raises OSError, or ValueError if it holds none."""
    from cryptography import x509  # a twentieth of a start; most need none

    certificate = x509.load_pem_x509_certificate(Path(file).read_bytes())
    return Leaf(
        frozenset(name.lower() for name in _names(certificate)),
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
    )


def _names(certificate: x509.Certificate) -> list[str]:
    """The alternative names; the common name where there are none (RFC 6125 section 6.4.4)."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return [str(name.value) for name in common]
    return found.value.get_values_for_type(x509.DNSName)


def load_pair(context: ssl.SSLContext, pair: Certificate) -> None:
    """Have the context use a certificate. Raises OSError or ssl.SSLError (which is one)."""
    context.load_cert_chain(pair.cert, pair.key, password="")


def find_pair_faults(pair: Certificate) -> Iterator[Finding]:
    """What makes a certificate unusable. The keys of the findings are `cert` and `key`."""
    can_be_read = True
    for key, file in (("cert", pair.cert), ("key", pair.key)):
        try:
            Path(file).open("rb").close()
        except OSError as error:
            can_be_read = False
            why = error.strerror or str(error)
            yield _degraded(key, file, why, "a file that can be read")
    try:
        read_leaf(pair.cert)
    except OSError:  # found above
        return
    except ValueError:
        yield _degraded("cert", pair.cert, "holds no certificate", "PEM")
        return
    if not can_be_read:
        return
    try:
        load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), pair)
    except ssl.SSLError as error:
        yield _degraded("key", pair.key, describe_load_error(error, pair))


def _degraded(key: str, file: str, why: str, allowed: str = "") -> Finding:
    return Finding(key, why, repr(file), allowed, Severity.DEGRADED)


def describe_load_error(error: ssl.SSLError, pair: Certificate) -> str:
    """Why OpenSSL does not take the pair. Its own words can't hold any of the key."""
    if error.reason in _MISMATCHES:
        return f"belongs to another certificate than {pair.cert!r}; must be its private key"
    reason = (error.reason or "not understood").replace("_", " ").lower()
    return f"{reason}; must be a private key in PEM, without a passphrase"


def why_untimely(pair: Certificate, now: datetime | None = None) -> str | None:
    """Why clients refuse a certificate now because of its time, if they do. The pair is good.

    It is no reason not to start: a server that is down serves nobody, one with an expired
    certificate serves those who do not look.
    """
    return read_leaf(pair.cert).fault_at(now or datetime.now(UTC))


def is_cipher_list(ciphers: str) -> bool:
    """Whether OpenSSL finds any cipher in it."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(ciphers)
    except ssl.SSLError:
        return False
    return True
