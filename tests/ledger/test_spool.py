"""Records that survive their writer, and files that are known to be complete."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ocaserve.ledger.spool import (
    SpoolRecord,
    SpoolWriter,
    count_spools,
    decode_records,
    encode_record,
    read_spool,
)

FIRST, SECOND = SpoolRecord(10, {"192.0.2.0/24": 5}), SpoolRecord(11, {"local": 7, "other": 1})


def spools(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.spool"))


def test_every_cut() -> None:
    """A record that is cut off anywhere is not there, and those before it are."""
    data = encode_record(*FIRST) + encode_record(*SECOND)
    whole = len(encode_record(*FIRST))
    for stop in range(len(data)):
        found = [record for _, record in decode_records(data[:stop])]
        assert found == ([FIRST] if stop >= whole else [])
    assert [record for _, record in decode_records(data)] == [FIRST, SECOND]


def test_every_flipped_bit() -> None:
    """Damage is seen."""
    data = encode_record(*FIRST)
    for place in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << place % 8
        assert list(decode_records(bytes(damaged))) == []


def test_write_and_read(tmp_path: Path) -> None:
    """Read on from where it was read last; complete when the writer has closed it."""
    writer = SpoolWriter(tmp_path / "spools", "worker-0", 1 << 20)
    assert count_spools(tmp_path / "spools") == 0
    writer.append(*FIRST)
    (file,) = spools(tmp_path / "spools")
    part = read_spool(file, 0)
    assert (part.records, part.is_complete) == ([FIRST], False)
    writer.append(*SECOND)
    assert read_spool(file, part.stop).records == [SECOND]
    writer.close()
    assert read_spool(file, 0).is_complete
    assert count_spools(tmp_path / "spools") == 1


def test_another_file_when_full(tmp_path: Path) -> None:
    """The first is complete then."""
    writer = SpoolWriter(tmp_path, "worker-0", 1)
    writer.append(*FIRST)
    assert writer.is_full
    writer.append(*SECOND)
    parts = [read_spool(file, 0) for file in spools(tmp_path)]
    assert [(part.records, part.is_complete) for part in parts] == [
        ([FIRST], True),
        ([SECOND], False),
    ]
    writer.close()


def test_writer_that_is_killed(tmp_path: Path) -> None:
    """In the middle of a record: the file is complete, and what was cut off is not in it."""
    pid = os.fork()
    if not pid:
        writer = SpoolWriter(tmp_path, "worker-0", 1 << 20)
        writer.append(*FIRST)
        with spools(tmp_path)[0].open("ab") as file:
            file.write(encode_record(*SECOND)[:-1])
        os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
    part = read_spool(spools(tmp_path)[0], 0)
    assert (part.records, part.is_complete) == ([FIRST], True)
    assert read_spool(spools(tmp_path)[0], part.stop).is_complete


def test_disk_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written in part is written over by the next record."""
    writer = SpoolWriter(tmp_path, "worker-0", 1 << 20)
    writer.append(*FIRST)
    real = os.pwrite

    def fill_up(descriptor: int, data: bytes, at: int) -> int:
        if at == len(encode_record(*FIRST)):
            return real(descriptor, data[:4], at)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", fill_up)
        with pytest.raises(OSError, match="No space left"):
            writer.append(*SECOND)
    assert read_spool(spools(tmp_path)[0], 0).records == [FIRST]
    writer.append(*SECOND)
    assert read_spool(spools(tmp_path)[0], 0).records == [FIRST, SECOND]
    writer.close()
