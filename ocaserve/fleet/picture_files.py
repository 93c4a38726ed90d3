"""Pictures on the disk: drawn and put there by the control process, found and mapped by workers."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from ocaserve.fleet.atlas import Atlas
from ocaserve.fleet.contents import Contents
from ocaserve.fleet.pictures import PICTURE, Picture
from ocaserve.whole_files import replace_file


class Exhibits:
    """The files that pictures name, of one control process: each what it was first made of.

    Its calls are for one thread at a time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._life = f"{time.time_ns():x}"
        self._made: dict[str, tuple[object, str]] = {}  # by what it is of: its source and name
        self._count = 0

    def find(self, what: str, source: object, make: Callable[[], bytes | memoryview]) -> str:
        """The name of the file of this source. Raises OSError."""
        known = self._made.get(what)
        if known is not None and known[0] is source:
            return known[1]
        self._count += 1
        name = f"{what.partition(' ')[0]}-{self._life}-{self._count}"
        replace_file(self._folder / name, bytes(make()))
        self._made[what] = source, name
        return name

    def put(self, picture: Picture) -> None:
        """In the place of the one before; what neither names is removed. Raises OSError."""
        before = self._named()
        replace_file(self._folder / PICTURE, msgspec.msgpack.encode(picture))
        kept = before | picture.files() | {PICTURE}
        for file in self._folder.iterdir():
            if file.name not in kept and not file.name.startswith(".") and file.is_file():
                with suppress(OSError):
                    file.unlink()

    def _named(self) -> set[str]:
        """By the last one: a worker may be about to open these."""
        with suppress(OSError, msgspec.MsgspecError):
            return read_picture(self._folder).files()
        return set()


def read_picture(folder: Path) -> Picture:
    """Raises OSError and msgspec.MsgspecError."""
    return msgspec.msgpack.decode((folder / PICTURE).read_bytes(), type=Picture)


class SeenPicture(NamedTuple):
    """A picture, and what it names."""

    picture: Picture
    atlas: Atlas
    contents: Contents | None


class Gallery:
    """A worker's view of the folder. Files that stay the same stay mapped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stamp: tuple[int, int] | None = None
        self._mapped: dict[str, memoryview] = {}
        self._atlas: tuple[str, Atlas] | None = None

    def has_news(self) -> bool:
        """Whether there is another picture than that which was seen last; costs a system call."""
        try:
            found = os.stat(self._folder / PICTURE)
        except OSError:
            return False
        return (found.st_ino, found.st_mtime_ns) != self._stamp

    def look(self) -> SeenPicture:
        """The picture that is there; for a thread. Raises OSError and msgspec.MsgspecError."""
        found = os.stat(self._folder / PICTURE)
        picture = read_picture(self._folder)
        self._mapped = {name: self._map(name) for name in picture.files()}
        if self._atlas is None or self._atlas[0] != picture.atlas:
            self._atlas = picture.atlas, Atlas(self._mapped[picture.atlas])
        self._stamp = found.st_ino, found.st_mtime_ns
        return SeenPicture(picture, self._atlas[1], self._contents_of(picture))

    def _contents_of(self, picture: Picture) -> Contents | None:
        if picture.content is None:
            return None
        held: Mapping[str, memoryview] = {
            each.id: self._mapped[each.held] for each in picture.servers if each.held
        }
        return Contents(
            self._mapped[picture.content.index], self._mapped[picture.content.live], held
        )

    def _map(self, name: str) -> memoryview:
        known = self._mapped.get(name)
        if known is not None:
            return known
        with (self._folder / name).open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                return memoryview(b"")
            return memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
