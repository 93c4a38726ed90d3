"""What stands in a file of recorded routes: lines of ExaBGP, or MRT records.

A file is decompressed as far as it can be, and what could be read of a damaged one counts.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, TypeAlias

import msgspec

from bgp.events import Envelope, Event, Ignored
from bgp.messages import MalformedLineError, decode
from ocaserve.errors import OcaserveError
from ocaserve.steering.mrt import MrtReader, RecordFault

_CHUNK_BYTES = 1 << 16  # decompressed at a time; of a damaged one nothing is read


class RecordingError(OcaserveError):
    """The file cannot be read; the text says why."""


class LineFault(NamedTuple):
    """A line that is malformed."""

    line: int
    why: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.why}"


Told: TypeAlias = tuple[Envelope | None, Event] | RecordFault | LineFault


class Decompressor(Protocol):
    """As zlib, bz2 and lzma have it."""

    def decompress(self, data: bytes, /) -> bytes: ...

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...


_KINDS: dict[bytes, tuple[str, Callable[[], Decompressor]]] = {
    b"\x1f\x8b": ("gzip", lambda: zlib.decompressobj(31)),
    b"BZh": ("bzip2", bz2.BZ2Decompressor),
    b"\xfd7zXZ\0": ("xz", lzma.LZMADecompressor),
}
_NOT_READ = {
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x1f\x9d": "compress",
    b"PK\x03\x04": "zip",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
}


def read_recording(path: str) -> tuple[bytes, str]:
    """The content, decompressed by what it begins with, and what kept more from being read.

    Raises RecordingError where nothing can be read.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror}") from None
    for magic, name in _NOT_READ.items():
        if data.startswith(magic):
            raise RecordingError(f"{path}: compressed with {name}, which is not read")
    for magic, (name, make) in _KINDS.items():
        if data.startswith(magic):
            content, fault = _decompress(data, make)
            fault = fault and f"{fault}, as {name}"
            if fault and not content:
                raise RecordingError(f"{path}: {fault}")
            return content, fault
    return data, ""


def _decompress(data: bytes, make: Callable[[], Decompressor]) -> tuple[bytes, str]:
    """What the members of a file hold, up to a fault."""
    pieces: list[bytes] = []
    at, member = 0, make()
    while at < len(data):
        chunk = data[at : at + _CHUNK_BYTES]
        try:
            pieces.append(member.decompress(chunk))
        except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
            return b"".join(pieces), f"damaged at byte {at} or soon after: {error}"
        at += len(chunk)
        if member.eof:
            at -= len(member.unused_data)
            if not data[at:].strip(b"\0"):  # padding
                return b"".join(pieces), ""
            member = make()
    return b"".join(pieces), f"cut off at byte {len(data)}"


class RecordingReader:
    """Reads the content of files, of which a later one goes on from those before it.

    local_as: ours, where a file names another, as one recorded at a route collector does.
    """

    def __init__(self, local_as: int | None = None) -> None:
        self._local_as = local_as
        self._mrt = MrtReader()
        self._lines = 0

    @property
    def records(self) -> int:
        """How many records or lines were seen."""
        return self._mrt.records + self._lines

    def read(self, data: bytes) -> Iterator[Told]:
        """What lines of ExaBGP say, or MRT."""
        if data.lstrip().startswith(b"{"):
            yield from self._read_lines(data)
            return
        for read in self._mrt.read(data):
            if isinstance(read, RecordFault) or not self._local_as:
                yield read
            else:
                yield read[0]._replace(local_as=self._local_as), read[1]

    def _read_lines(self, data: bytes) -> Iterator[Told]:
        for number, line in enumerate(data.splitlines(), 1):
            if not line.strip():
                continue
            self._lines += 1
            try:
                told = decode(line, msgspec.json.decode)
            except MalformedLineError as error:
                yield LineFault(number, str(error))
                continue
            is_text = told[0] is None and isinstance(told[1], Ignored)
            yield LineFault(number, "not a line of ExaBGP") if is_text else told
