"""Files that hold keys and tokens. No finding shows what they hold.

Keys to sign with are refused where they cannot be had: without them every URL would be. So is a
file of keys or of tokens that others can read, as what it protects is open then. Other secrets are
done without, each for itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from ocaserve.errors import SettingsError
from ocaserve.findings import Finding, Severity
from ocaserve.settings import Settings, Signing
from ocaserve.settings.control import read_tokens
from ocaserve.settings.secrecy import OWNER_ONLY, is_owners_only
from ocaserve.settings.signing import read_keys


def find_secret_faults(settings: Settings) -> Iterator[Finding]:
    """What is wrong with each file of secrets."""
    yield from _find_key_faults(settings.signing)
    yield from _find_token_faults(settings)
    file = settings.report.token_file
    if file:
        yield from find_private_faults("report.token_file", file)


def with_keys(signing: Signing) -> Signing:
    """With what stands in its file of keys, if that can be read."""
    with suppress(SettingsError):
        return read_keys(signing)
    return signing


def find_private_faults(key: str, file: str) -> Iterator[Finding]:
    """A file that must be there, and its owner's alone."""
    why = ""
    try:
        with open(file, "rb"):
            pass
        if not is_owners_only(file):
            why = OWNER_ONLY
    except OSError as error:
        why = error.strerror or str(error)
    if why:
        yield Finding(key, why, repr(file), severity=Severity.DEGRADED)


def _find_key_faults(signing: Signing) -> Iterator[Finding]:
    if signing.keys and signing.keys_file:  # the text says so, and is told
        return
    severity = Severity.REFUSED if signing.required else Severity.DEGRADED
    try:
        read_keys(signing)
    except SettingsError as error:
        for fault in error.faults:
            yield _said("signing.keys_file", signing.keys_file, fault, severity)


def _find_token_faults(settings: Settings) -> Iterator[Finding]:
    control = settings.control
    try:
        read_tokens(control)
    except SettingsError as error:
        for fault in error.faults:
            severity = Severity.REFUSED if OWNER_ONLY in fault else Severity.DEGRADED
            yield _said("control.tokens_file", control.tokens_file, fault, severity)


def _said(key: str, file: str, fault: str, severity: Severity) -> Finding:
    """A fault as the reader of the file words it, in the form of a finding."""
    why = fault.removeprefix(f"{key} = {file!r}: ")
    return Finding(key, why, repr(file), severity=severity)
