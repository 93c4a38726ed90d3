"""Files by which a worker tells control what it has sent: one writer each, records appended.

A record is its length and CRC-32 (four bytes each, big-endian), then MessagePack: the time and the
bytes of each network. One that is cut off, because its writer was killed in the middle of it, does
not have the right sum, and ends the file.

A writer holds a lock on its file (flock(2)) for as long as it may write. So a reader knows, however
the writer ended, when a file is complete; then it is read to its end and removed.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

SUFFIX = ".spool"
_FRAME = struct.Struct(">II")
_READ_BYTES = 16 << 20  # of a spool at once; more than a record of 100,000 networks has


class SpoolRecord(NamedTuple):
    """`at`: seconds since the epoch when the worker told."""

    at: int
    sent: dict[str, int]


def encode_record(at: int, sent: Mapping[str, int]) -> bytes:
    """A record with its frame."""
    payload = msgspec.msgpack.encode((at, sent))
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def decode_records(data: bytes) -> Iterator[tuple[int, SpoolRecord]]:
    """Each whole record that stands at the beginning of `data`, and where in it the next begins."""
    at = 0
    while at + _FRAME.size <= len(data):
        length, check = _FRAME.unpack_from(data, at)
        payload = data[at + _FRAME.size : at + _FRAME.size + length]
        if len(payload) < length or zlib.crc32(payload) != check:
            return
        at += _FRAME.size + length
        yield at, msgspec.msgpack.decode(payload, type=SpoolRecord)


class SpoolWriter:
    """Appends to a file of its own below `folder`; begins another when it has `most_bytes`.

    All calls wait for the disk: they belong into a thread. They raise OSError.
    """

    def __init__(self, folder: Path, name: str, most_bytes: int) -> None:
        self._folder = folder
        self._name = name
        self._most_bytes = most_bytes
        self._number = 0
        self._size = 0
        self._descriptor: int | None = None

    @property
    def is_full(self) -> bool:
        """Whether the next record begins another file."""
        return self._descriptor is None or self._size >= self._most_bytes

    def append(self, at: int, sent: Mapping[str, int]) -> None:
        """Write a record. When that fails, it was not written: the next one takes its place."""
        if self._descriptor is not None and self._size >= self._most_bytes:
            self.close()
        if self._descriptor is None:
            self._begin()
        assert self._descriptor is not None
        data = encode_record(at, sent)
        done = 0
        while done < len(data):
            done += os.pwrite(self._descriptor, data[done:], self._size + done)
        self._size += len(data)

    def _begin(self) -> None:
        """Locked before it has its name, so that no reader takes it for one that is complete."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._number += 1
        file = self._folder / f"{self._name}-{self._number}{SUFFIX}"
        hidden = file.with_suffix(".new")
        descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.rename(hidden, file)
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor, self._size = descriptor, 0

    def close(self) -> None:
        """The file is complete."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def count_spools(folder: Path) -> int:
    """How many there are, of all workers."""
    try:
        return sum(name.endswith(SUFFIX) for name in os.listdir(folder))
    except FileNotFoundError:
        return 0


class SpoolPart(NamedTuple):
    """Records of a spool from where it was read last. `stop`: where to go on.

    is_complete: nothing will follow.
    """

    records: list[SpoolRecord]
    stop: int
    is_complete: bool


def read_spool(file: Path, start: int) -> SpoolPart:
    """Read on from `start`. Raises OSError."""
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # Asked before reading: a writer that ends in between leaves a rest for the next time.
        is_complete = _is_given_up(descriptor)
        data = os.pread(descriptor, _READ_BYTES, start)
    finally:
        os.close(descriptor)
    found = list(decode_records(data))
    stop = start + found[-1][0] if found else start
    is_at_end = len(data) < _READ_BYTES or not found
    return SpoolPart([record for _, record in found], stop, is_complete and is_at_end)


def _is_given_up(descriptor: int) -> bool:
    """Whether no writer holds the file; closing it lets go of the lock that asking takes."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
