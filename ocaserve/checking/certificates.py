"""Certificates and keys of `[tls]` and `[control]`, and what the kernel and OpenSSL can do."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from dataclasses import replace

from ocaserve.findings import Finding, Severity
from ocaserve.kernel_tls import why_not
from ocaserve.settings import Certificate, Control, Settings, Tls


def find_certificate_faults(settings: Settings) -> Iterator[Finding]:
    """A certificate that cannot be used is done without, and tried again when its files change."""
    if settings.tls.listen:
        yield from _find_tls_faults(settings.tls)
    if settings.control.certificate:
        yield from _find_control_faults(settings.control)


def _find_tls_faults(tls: Tls) -> Iterator[Finding]:
    # Needed by few, and slow to import: not before somebody wants TLS.
    from ocaserve.certificates import is_cipher_list

    obstacle = why_not() if tls.ktls == "require" else None
    if obstacle is not None:
        yield Finding("tls.ktls", f"TLS in the kernel {obstacle}", repr("require"))
    if not is_cipher_list(tls.ciphers):
        yield Finding("tls.ciphers", "", repr(tls.ciphers), "cipher names as OpenSSL writes them")
    for place, pair in enumerate(tls.certificates):
        yield from _find_pair_faults(f"tls.certificates[{place}]", pair)


def _find_pair_faults(name: str, pair: Certificate) -> Iterator[Finding]:
    from ocaserve.certificates import find_pair_faults, why_untimely

    faults = [replace(each, key=f"{name}.{each.key}") for each in find_pair_faults(pair)]
    if faults:
        yield from faults
        return
    why = why_untimely(pair)
    if why is not None:
        yield Finding(f"{name}.cert", why, repr(pair.cert), severity=Severity.DEGRADED)
    yield from _find_open_key(f"{name}.key", pair.key)


def _find_control_faults(control: Control) -> Iterator[Finding]:
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            control.certificate, control.key or None, password=_refuse_password
        )
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        yield Finding(
            "control.certificate", getattr(error, "strerror", None) or str(error),
            repr(control.certificate),
            "a PEM certificate with its key, there or in control.key, without a password",
            Severity.DEGRADED,
        )  # fmt: skip
    name = "control.key" if control.key else "control.certificate"  # which then holds both
    yield from _find_open_key(name, control.key or control.certificate)


def _refuse_password() -> str:
    """Without this, OpenSSL asks the terminal."""
    raise ValueError("the key needs a password")


def _find_open_key(name: str, file: str) -> Iterator[Finding]:
    from ocaserve.settings.secrecy import NOT_EVERYBODY, is_everybodys

    if os.path.isfile(file) and is_everybodys(file):
        yield Finding(name, NOT_EVERYBODY, repr(file), severity=Severity.DEGRADED)
