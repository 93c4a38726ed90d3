"""Files that are there whole or not at all, whoever else can write in their folder.

A new one is written beside the old one and renamed over it. The name it has meanwhile must be free
(O_EXCL, which follows no link), and folder and file are reached by descriptors: who swaps either
for a link to something else, as the user that ExaBGP runs as may try with root, gains nothing.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def replace_file(
    file: Path,
    data: bytes,
    *,
    mode: int = 0o600,
    owner: tuple[int, int] | None = None,
    durable: bool = False,
) -> None:
    """Raises OSError; then the file is as it was.

    owner: user and group that it is given to. durable: on the disk when this returns.
    """
    assert file.name not in ("", ".."), f"{file} names a folder"
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        draft = f".{file.name}.{os.getpid()}.new"
        with suppress(FileNotFoundError):  # of a process of that number that was killed
            os.unlink(draft, dir_fd=folder)
        try:
            _write_new(draft, folder, data, mode, owner, durable=durable)
            os.rename(draft, file.name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            with suppress(OSError):
                os.unlink(draft, dir_fd=folder)
            raise
        if durable:
            with suppress(OSError):  # some file systems cannot
                os.fsync(folder)
    finally:
        os.close(folder)


def _write_new(
    name: str,
    folder: int,
    data: bytes,
    mode: int,
    owner: tuple[int, int] | None,
    *,
    durable: bool,
) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o600, dir_fd=folder)
    with open(descriptor, "wb") as out:
        out.write(data)
        out.flush()
        if owner is not None:
            os.fchown(descriptor, *owner)
        os.fchmod(descriptor, mode)
        if durable:
            os.fsync(descriptor)


def can_others_write(folder: str | os.PathLike[str]) -> bool:
    """Whether somebody but us and root may replace what lies in a folder. Raises OSError."""
    found = os.stat(folder)
    is_shared = bool(found.st_mode & 0o022) and not found.st_mode & 0o1000  # sticky: own files only
    return is_shared or found.st_uid not in (0, os.geteuid())
