"""Certificates that sign themselves, made for a test."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

_DAY = timedelta(days=1)


class Pair(NamedTuple):
    """The files of a certificate and its key."""

    cert: Path
    key: Path

    @property
    def toml(self) -> str:
        """As it stands in the settings."""
        return f'{{ cert = "{self.cert}", key = "{self.key}" }}'

    def der(self) -> bytes:
        """The certificate as a client sees it."""
        return ssl.PEM_cert_to_DER_cert(self.cert.read_text())


def make_pair(
    folder: Path,
    file: str,
    *names: str,
    kind: str = "ec",
    starts: timedelta = -_DAY,
    ends: timedelta = 90 * _DAY,
) -> Pair:
    """Write `file`.pem and `file`.key, for these DNS names; over what was there, if anything."""
    key = (
        rsa.generate_private_key(65537, 2048)
        if kind == "rsa"
        else ec.generate_private_key(ec.SECP256R1())
    )
    now = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + starts)
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), False)
        .sign(key, hashes.SHA256())
    )
    pair = Pair(folder / f"{file}.pem", folder / f"{file}.key")
    pair.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    pair.key.chmod(0o600)
    pair.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return pair
