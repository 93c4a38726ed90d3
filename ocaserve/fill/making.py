"""Making a manifest of a folder: what an appliance that has it all would hold."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ocaserve.fill.manifest import Entry, Manifest, Pieces, Source, find_key_fault

_READ_BYTES = 1 << 20


def find_files(folder: Path) -> Iterator[tuple[str, int]]:
    """Key and size of each object below a folder, in the order of their keys. Raises OSError."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = os.path.relpath(place, folder)
        for name in sorted(files):
            file = Path(place, name)
            key = name if below == "." else f"{below}/{name}"
            if not name.startswith(".") and file.is_file() and not file.is_symlink():
                yield key, file.stat().st_size


def describe_file(
    folder: Path, key: str, piece_bytes: int, sources: list[Source], read: Callable[[int], None]
) -> Entry:
    """The entry of one object; `read` is told of each part. Raises OSError, ValueError."""
    if fault := find_key_fault(key):
        raise ValueError(f"{key!r}: a key {fault}")
    whole, pieces = hashlib.sha256(), []
    with (folder / key).open("rb") as file:
        status = os.fstat(file.fileno())
        piece, left = hashlib.sha256(), piece_bytes
        size = 0
        while data := file.read(min(_READ_BYTES, left)):
            whole.update(data)
            piece.update(data)
            size += len(data)
            left -= len(data)
            read(len(data))
            if not left:
                pieces.append(piece.hexdigest())
                piece, left = hashlib.sha256(), piece_bytes
        if left < piece_bytes:
            pieces.append(piece.hexdigest())
        if os.fstat(file.fileno()).st_mtime_ns != status.st_mtime_ns or size != status.st_size:
            raise OSError(0, f"{key} changed while it was read")
    return Entry(
        key=key, size=size, sha256=whole.hexdigest(), mtime_ns=status.st_mtime_ns,
        pieces=Pieces(size=piece_bytes, sha256=pieces) if size > piece_bytes else None,
        sources=sources,
    )  # fmt: skip


def name_version() -> str:
    """Of a manifest that is made now."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def make_manifest(entries: list[Entry], version: str = "") -> Manifest:
    """All of them."""
    return Manifest(version=version or name_version(), objects=entries)
