"""What fill needs of the machine: stores that it may write, files that it may read.

None of it keeps the appliance from serving what it has.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import suppress

from ocaserve.checking.folders import FolderSight, look_at_folders
from ocaserve.checking.secrets import find_private_faults
from ocaserve.findings import Finding, Severity
from ocaserve.settings import Settings
from ocaserve.settings.fill import read_token


def find_fill_world_faults(settings: Settings) -> Iterator[Finding]:
    """Nothing without a [fill] table."""
    fill = settings.fill
    if not fill.is_on:
        return
    seen: Mapping[str, FolderSight] = {}
    with suppress(OSError):  # which is told of the stores, as is one that cannot be read at all
        seen = look_at_folders([store.path for store in settings.store])
    for place, store in enumerate(settings.store):
        sight = seen.get(store.path)
        if sight is not None and not sight.fault and not sight.is_writable:
            why, allowed = "nothing can be fetched into it", "a directory that can be written"
            yield _degraded(f"store[{place}].path", why, store.path, allowed)
    if fill.ca_file and (fault := _find_ca_fault(fill.ca_file)):
        allowed = "a file of PEM certificates; no https source is believed"
        yield _degraded("fill.ca_file", fault, fill.ca_file, allowed)
    for name in ("token_file", "manifest_token_file"):
        if file := getattr(fill, name):
            yield from _find_token_faults(f"fill.{name}", file)


def _find_token_faults(key: str, file: str) -> Iterator[Finding]:
    faults = list(find_private_faults(key, file))
    yield from faults
    if not faults:
        try:
            read_token(file)
        except ValueError as error:
            yield _degraded(key, str(error), file, "")


def _find_ca_fault(file: str) -> str:
    try:
        ssl.create_default_context(cafile=file)
    except ssl.SSLError:  # an OSError, of which the text is OpenSSL's
        return "no certificate can be read from it"
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _degraded(key: str, why: str, path: str, allowed: str) -> Finding:
    return Finding(key, why, repr(path), allowed, Severity.DEGRADED)
