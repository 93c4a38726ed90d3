"""A token for commands on the same machine, where the operator has configured none.

It is made anew with each start of the control process, and lies in a file that only the
appliance's own user can read. The folder is one that a command finds without being told: the
service manager's (`RUNTIME_DIRECTORY`), the user's own (`XDG_RUNTIME_DIR`), or one of a fixed name
among the temporary files, which is used only if it is this user's alone.
"""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from ocaserve.addresses import Address

_SERVICE_FOLDER = Path("/run/ocaserve")  # RuntimeDirectory=ocaserve, seen from outside


def publish_token(environment: Mapping[str, str], addresses: list[Address]) -> str:
    """Make a token and leave it for those who call these addresses. Raises OSError."""
    token = secrets.token_urlsafe(32)
    folder = next(_folders(environment))
    folder.mkdir(mode=0o700, exist_ok=True)
    if not _is_private(folder):
        raise PermissionError(f"{folder} is not a folder of this user alone")
    for address in addresses:
        _write_private(folder / _file_name(address), token)
    return token


def find_token(environment: Mapping[str, str], address: Address) -> str:
    """The token for an address, empty where there is none that this user can read."""
    for folder in (*_folders(environment), _SERVICE_FOLDER):
        file = folder / _file_name(address)
        try:
            if _is_private(folder) or folder == _SERVICE_FOLDER:
                return file.read_text()
        except OSError:
            continue
    return ""


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


def _write_private(file: Path, token: str) -> None:
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(token)
    draft.rename(file)
