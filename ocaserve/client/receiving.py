"""Where the bytes go: a file that is there when it is whole, or a stream; with their digest.

`FILE.part` grows; `FILE.part.json` says which version it is of. So a download that was broken off
goes on where it was, and what is of another version is not mixed in. Only one process writes one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from ocaserve.client.course import Version
from ocaserve.client.following import Begun, FollowError
from ocaserve.whole_files import replace_file

_READ_BYTES = 1 << 20


class PartialFile:
    """A sink that is a file. Used as a context; what is not finished by its end is kept.

    begun: what is there of an earlier run. Raises FollowError where the file cannot be used.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._part = file.with_name(f"{file.name}.part")
        self._note = file.with_name(f"{file.name}.part.json")
        self._digest = hashlib.sha256()
        self._is_finished = False
        self.begun = Begun()

    def __enter__(self) -> Self:
        try:
            if self._file.is_dir():
                raise FollowError(f"{self._file}: is a directory")
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._descriptor = os.open(self._part, flags, 0o666)
        except OSError as error:
            raise FollowError(f"{self._part}: {error.strerror}") from None
        try:
            self._recall()
        except BaseException:
            os.close(self._descriptor)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not os.fstat(self._descriptor).st_size and not self._is_finished:
            self._discard()
        os.close(self._descriptor)

    def _discard(self) -> None:
        self._note.unlink(missing_ok=True)
        self._part.unlink(missing_ok=True)

    def _recall(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FollowError(f"{self._part}: another process writes it") from None
        try:
            version = msgspec.json.decode(self._note.read_bytes(), type=Version)
        except (OSError, msgspec.DecodeError):
            version = None
        if version is None or os.fstat(self._descriptor).st_size > version.size:
            os.ftruncate(self._descriptor, 0)
            return
        while chunk := os.read(self._descriptor, _READ_BYTES):
            self._digest.update(chunk)
        position = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        if position:
            self.begun = Begun(position, version)

    async def begin(self, version: Version) -> None:
        """The note is there before the first byte that it is about."""
        replace_file(self._note, msgspec.json.encode(version))

    async def take(self, chunk: bytes) -> None:
        """The next bytes. Raises FollowError where they cannot be written."""
        self._digest.update(chunk)
        view = memoryview(chunk)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise FollowError(f"{self._part}: {error.strerror}") from None

    async def begin_anew(self) -> None:
        """Nothing of it is kept."""
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        os.ftruncate(self._descriptor, 0)
        self._digest = hashlib.sha256()

    def finish(self, sha256: str | None) -> str:
        """Give it its name; returns its digest. sha256: what it must be, or FollowError."""
        found = self._digest.hexdigest()
        if sha256 not in (None, found):
            self._discard()
            raise FollowError(f"SHA-256 is {found}, not {sha256}; nothing was kept")
        os.fsync(self._descriptor)
        self._part.replace(self._file)
        self._is_finished = True
        self._note.unlink(missing_ok=True)
        return found


class Stream:
    """A sink that only goes forward: a pipe, or nothing at all, of which the digest is made.

    write: takes all that it is given.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._digest = hashlib.sha256()

    async def begin(self, version: Version) -> None:
        """Nothing is to be done."""

    async def take(self, chunk: bytes) -> None:
        """The next bytes."""
        self._digest.update(chunk)
        self._write(chunk)

    async def begin_anew(self) -> None:
        """What is gone is gone. Raises FollowError."""
        raise FollowError("all servers have another version now; a part of the old one was written")

    def finish(self, sha256: str | None) -> str:
        """Its digest. sha256: what it must be, or FollowError."""
        found = self._digest.hexdigest()
        if sha256 not in (None, found):
            raise FollowError(f"SHA-256 is {found}, not {sha256}")
        return found
