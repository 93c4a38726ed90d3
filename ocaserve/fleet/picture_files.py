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
from msgspec import Struct

from ocaserve.fleet.atlas import Atlas
from ocaserve.fleet.contents import Contents
from ocaserve.fleet.pictures import PICTURE, Picture, PicturedContent, PicturedServer
from ocaserve.policies.in_force import PoliciesInForce
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
        self._named: set[str] | None = None  # by the last picture, which a worker may look at now

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
        before = self._find_named() if self._named is None else self._named
        replace_file(self._folder / PICTURE, msgspec.msgpack.encode(picture))
        self._named = picture.files()
        kept = before | self._named | {PICTURE}
        for file in self._folder.iterdir():
            if file.name not in kept and not file.name.startswith(".") and file.is_file():
                with suppress(OSError):
                    file.unlink()

    def _find_named(self) -> set[str]:
        """By the last one of the process before."""
        with suppress(OSError, msgspec.MsgspecError):
            data = (self._folder / PICTURE).read_bytes()
            return msgspec.msgpack.decode(data, type=Picture).files()
        return set()


class _PartlyRead(Struct, frozen=True, array_like=True):
    """A picture whose servers are not read yet."""

    atlas: str
    servers: msgspec.Raw
    content: PicturedContent | None
    policies: PoliciesInForce


class SeenPicture(NamedTuple):
    """A picture, and what it names. servers: those of the picture, by their ids."""

    picture: Picture
    atlas: Atlas
    contents: Contents | None
    servers: Mapping[str, PicturedServer]


class Gallery:
    """A worker's view of the folder. Files that stay the same stay mapped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stamp: tuple[int, int] | None = None
        self._mapped: dict[str, memoryview] = {}
        self._atlas: tuple[str, Atlas] | None = None
        # Of servers: all that is written, each by what is written of it, and by its id.
        self._written = b""
        self._known: dict[bytes, PicturedServer] = {}
        self._list: list[PicturedServer] = []
        self._servers: Mapping[str, PicturedServer] = {}

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
        picture = self._read()
        self._mapped = {name: self._map(name) for name in picture.files()}
        if self._atlas is None or self._atlas[0] != picture.atlas:
            self._atlas = picture.atlas, Atlas(self._mapped[picture.atlas])
        self._stamp = found.st_ino, found.st_mtime_ns
        return SeenPicture(picture, self._atlas[1], self._contents_of(picture), self._servers)

    def _read(self) -> Picture:
        """Of a server of which the same is written as before, it has the same object; of all, the
        same list.
        """
        data = (self._folder / PICTURE).read_bytes()
        found = msgspec.msgpack.decode(data, type=_PartlyRead)
        if (written := bytes(found.servers)) != self._written:
            known, self._known = self._known, {}
            for raw in map(bytes, msgspec.msgpack.decode(written, type=list[msgspec.Raw])):
                server = known.get(raw)
                if server is None:
                    server = msgspec.msgpack.decode(raw, type=PicturedServer)
                self._known[raw] = server
            self._list = [*self._known.values()]
            self._servers = {each.id: each for each in self._list}
            self._written = written
        return Picture(found.atlas, self._list, found.content, found.policies)

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
