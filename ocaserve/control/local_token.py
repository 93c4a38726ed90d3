"""A token for commands on the same machine, where the operator has configured none.

It is made anew with each start of the appliance, and lies in a file that only the appliance's own
user can read. A control process that replaces another one takes over its token: a command may be
waiting for the outcome of the very reload that has replaced it.

The folder is one that a command finds without being told: the service manager's
(`RUNTIME_DIRECTORY`), the user's own (`XDG_RUNTIME_DIR`), or one of a fixed name among the
temporary files, which is used only if it is this user's alone.
"""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from ocaserve.addresses import Address
from ocaserve.whole_files import replace_file

_MOST_CHARACTERS = 64
# RuntimeDirectory= of the units, seen from outside.
_SERVICE_FOLDERS = (Path("/run/ocaserve"), Path("/run/ocaserve-fleet"))


def choose_token(environment: Mapping[str, str], addresses: list[Address]) -> str:
    """That of the process before, where there was one, else a new one."""
    folder = next(_folders(environment))
    left = (_read_own(folder / _file_name(address)) for address in addresses)
    return next(filter(None, left), "") or secrets.token_urlsafe(32)


def publish_token(environment: Mapping[str, str], addresses: list[Address], token: str) -> None:
    """Leave it for those who call these addresses. Raises OSError."""
    folder = next(_folders(environment))
    folder.mkdir(mode=0o700, exist_ok=True)
    if not _is_private(folder):
        raise PermissionError(f"{folder} is not a folder of this user alone")
    for address in addresses:
        replace_file(folder / _file_name(address), token.encode())


def find_token(environment: Mapping[str, str], address: Address) -> str:
    """The token for an address, empty where there is none that this user can read."""
    for folder in (*_folders(environment), *_SERVICE_FOLDERS):
        file = folder / _file_name(address)
        try:
            if _is_private(folder) or folder in _SERVICE_FOLDERS:
                return file.read_text()
        except OSError:
            continue
    return ""


def _read_own(file: Path) -> str:
    """What a file holds that we have written, and nobody else can read; empty if it is none."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return ""
    with open(descriptor) as left:
        found = os.fstat(descriptor)
        is_own = found.st_uid == os.geteuid() and not found.st_mode & 0o077
        return left.read(_MOST_CHARACTERS) if is_own else ""


def withdraw_token(environment: Mapping[str, str], addresses: list[Address], token: str) -> None:
    """Remove the files, but for those that a successor has written meanwhile."""
    for address in addresses:
        if find_token(environment, address) == token:
            (next(_folders(environment)) / _file_name(address)).unlink(missing_ok=True)


def _folders(environment: Mapping[str, str]) -> Iterator[Path]:
    given = environment.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    if given:
        yield Path(given)
    own = environment.get("XDG_RUNTIME_DIR", "")
    if own and os.path.isdir(own):
        yield Path(own, "ocaserve")
    yield Path(tempfile.gettempdir(), f"ocaserve-{os.getuid()}")


def _is_private(folder: Path) -> bool:
    """Whether it is ours, and nobody else can put files there or replace it by a link."""
    found = folder.lstat()
    mine = found.st_uid in (os.getuid(), 0)
    return mine and stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o022


def _file_name(address: Address) -> str:
    return f"token-{str(address).replace('/', '_')}"
