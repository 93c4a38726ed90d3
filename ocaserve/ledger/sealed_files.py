"""Files of the ledger: there whole or not at all, and known for what they are.

Each is a line that names the format, the CRC-32 of the rest (four bytes, big-endian), and
MessagePack. It is written under another name, brought to the disk and renamed.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TypeVar

import msgspec

from ocaserve.whole_files import replace_file

SUFFIX = ".ledger"
_MAGIC = b"ocaserve ledger 1\n"
_CHECK_BYTES = 4

Kept = TypeVar("Kept")


class DamagedFileError(Exception):
    """The file is not what was written: its name stands in the text."""


def write_sealed(file: Path, value: object) -> None:
    """Replace the file, durably. Raises OSError; then it is as it was."""
    payload = msgspec.msgpack.encode(value)
    data = _MAGIC + zlib.crc32(payload).to_bytes(_CHECK_BYTES) + payload
    replace_file(file, data, durable=True)


def read_sealed(file: Path, shape: type[Kept]) -> Kept:
    """Raises DamagedFileError, FileNotFoundError, OSError."""
    data = file.read_bytes()
    start = len(_MAGIC) + _CHECK_BYTES
    check = int.from_bytes(data[len(_MAGIC) : start])
    if not data.startswith(_MAGIC) or zlib.crc32(data[start:]) != check:
        raise DamagedFileError(f"{file} is damaged")
    try:
        return msgspec.msgpack.decode(data[start:], type=shape)
    except msgspec.DecodeError as error:
        raise DamagedFileError(f"{file} is of another version: {error}") from error


def put_aside(file: Path) -> None:
    """Keep a damaged one for who wants to know, under a name that nobody reads."""
    file.rename(file.with_suffix(".damaged"))
