"""Files and folders that are written to, and what is read anew while the appliance runs."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ocaserve.findings import Finding, Severity
from ocaserve.settings import Settings


def find_file_faults(settings: Settings) -> Iterator[Finding]:
    """None of them keeps the appliance from serving: lines, sums and notes are lost meanwhile."""
    yield from _find_log_faults(settings.serve.access_log)
    state = settings.appliance.state_directory
    if state and not (os.path.isdir(state) and os.access(state, os.W_OK | os.X_OK)):
        allowed = "a directory that can be written"
        yield _degraded("appliance.state_directory", "", state, allowed)
    directory = settings.ledger.directory
    if directory and settings.ledger.is_kept:
        yield from _find_folder_faults("ledger.directory", directory)


def _degraded(key: str, why: str, path: str, allowed: str) -> Finding:
    return Finding(key, why, repr(path), allowed, Severity.DEGRADED)


def _find_log_faults(log: str) -> Iterator[Finding]:
    if log in ("-", "off"):
        return
    key = "serve.access_log"
    folder = Path(log).parent
    try:
        kind = os.stat(log).st_mode
    except FileNotFoundError:
        if not folder.is_dir():
            yield _degraded(key, "", log, "in a directory that exists")
        elif not os.access(folder, os.W_OK | os.X_OK):
            yield _degraded(key, "", log, "in a directory that can be written")
        return
    except OSError as error:
        yield _degraded(key, error.strerror or str(error), log, "a file that can be written")
        return
    if stat.S_ISDIR(kind):
        yield _degraded(key, "", log, "a file, not a directory")
    elif stat.S_ISSOCK(kind) or not os.access(log, os.W_OK):
        yield _degraded(key, "", log, "a file that can be written")


def _find_folder_faults(key: str, directory: str) -> Iterator[Finding]:
    """A folder that is made where its parent is there."""
    path = Path(directory)
    try:
        is_there = path.exists()
    except OSError as error:
        yield _degraded(key, error.strerror or str(error), directory, "a directory")
        return
    if not is_there and not path.parent.is_dir():
        yield _degraded(key, "", directory, "in a directory that exists")
    elif is_there and not path.is_dir():
        yield _degraded(key, "", directory, "a directory")
    elif not os.access(path if is_there else path.parent, os.W_OK | os.X_OK):
        yield _degraded(key, "", directory, "in a directory that can be written")
