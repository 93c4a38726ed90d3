"""The writer of the access log loses no line but says so, and keeps nobody waiting."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import select
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ocaserve.serving.access_log import AccessLog, LogFile, WriteOutcome

SMALL_DISK = 64 << 10


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The messages of the process log so far."""
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root mounts a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def make_log(path: Path | str) -> AccessLog:
    return AccessLog(str(path), asyncio.get_running_loop())


async def settle(log: AccessLog) -> None:
    """Wait until the thread has written: a job submitted now is delivered after all before it."""
    written = asyncio.Event()
    log._writer.submit(lambda: None, lambda _: written.set())
    await asyncio.wait_for(written.wait(), 5)


async def write(log: AccessLog, *lines: bytes) -> None:
    for line in lines:
        log.write(line)
    log.flush()
    await settle(log)


async def test_lines_are_written_in_order(tmp_path: Path) -> None:
    log = make_log(tmp_path / "log")
    await write(log, *(b"%d\n" % number for number in range(5000)))
    assert (tmp_path / "log").read_bytes().split() == [b"%d" % n for n in range(5000)]
    assert log.taken == 5000
    assert log.dropped == 0


@pytest.mark.parametrize("length", [1, 100, 4095, 4096, 5000])
async def test_lines_in_a_pipe_stay_whole(length: int) -> None:
    """Two workers fill it at once; only a line that is longer than a pipe takes whole may break."""
    reader, writer = os.pipe()
    logs = [make_log(f"/proc/self/fd/{writer}") for _ in range(2)]
    for log in logs:
        await settle(log)
    os.close(writer)
    letters = [b"a" * (length - 1) + b"\n", b"b" * (length - 1) + b"\n"]
    for log, line in zip(logs, letters, strict=True):
        for _ in range(500):
            log.write(line)
        log.flush()
    received = b""
    while len(received) < 1000 * length:
        received += await asyncio.to_thread(os.read, reader, 1 << 16)
    os.close(reader)
    if length <= select.PIPE_BUF:
        assert {bytes(line) for line in received.splitlines(keepends=True)} == set(letters)
    assert sorted(received) == sorted(b"".join(letters) * 500)


async def test_lines_after_reopening_go_to_the_new_file(tmp_path: Path) -> None:
    log = make_log(tmp_path / "log")
    log.write(b"old\n")
    log.flush()
    await settle(log)
    (tmp_path / "log").rename(tmp_path / "log.1")
    log.reopen()
    await write(log, b"new\n")
    assert (tmp_path / "log.1").read_bytes() == b"old\n"
    assert (tmp_path / "log").read_bytes() == b"new\n"


async def test_file_that_cannot_be_opened_anew(
    tmp_path: Path, said: Callable[[], list[str]]
) -> None:
    """The lines go on into the file of before, until it can be: none is lost."""
    path = tmp_path / "logs" / "log"
    path.parent.mkdir()
    log = make_log(path)
    await write(log, b"1\n")
    path.parent.rename(tmp_path / "old")
    log.reopen()
    await write(log, b"2\n")
    await write(log, b"3\n")
    assert (tmp_path / "old" / "log").read_bytes() == b"1\n2\n3\n"
    path.parent.mkdir()
    log.flush()
    await settle(log)
    await write(log, b"4\n")
    assert path.read_bytes() == b"4\n"
    assert (log.taken, log.dropped) == (4, 0)
    assert said() == [
        f"serve.access_log: {path} cannot be opened anew: No such file or directory: lines go on "
        "into the file of before; tried again each second",
        f"serve.access_log: {path}: opened anew",
    ]


async def test_file_that_cannot_be_opened_at_first(
    tmp_path: Path, said: Callable[[], list[str]]
) -> None:
    """It is said before there is a line, and tried again without one."""
    path = tmp_path / "logs" / "log"
    log = make_log(path)
    await settle(log)
    trouble = (
        f"serve.access_log: {path}: No such file or directory: lines are lost and counted; tried "
        "again each second"
    )
    assert said() == [trouble]
    await write(log, b"1\n", b"2\n")
    await write(log, b"3\n")
    assert (log.taken, log.dropped) == (3, 3)
    path.parent.mkdir()
    log.flush()
    await settle(log)
    assert said() == [trouble, f"serve.access_log: {path}: written again, 3 lines were lost"]
    await write(log, b"4\n")
    assert path.read_bytes() == b"4\n"


async def test_opening_is_not_writing(said: Callable[[], list[str]]) -> None:
    """A disk that is full takes no line from who opens the file anew (USR1)."""
    log = make_log(Path("/dev/full"))
    await write(log, b"1\n")
    log.reopen()
    await settle(log)
    await write(log, b"2\n")
    (trouble,) = said()
    assert "No space left on device" in trouble
    assert log.dropped == 2


async def test_pipe_without_a_reader(tmp_path: Path, said: Callable[[], list[str]]) -> None:
    """Nobody waits for one: not at the start, not when he stops reading, not when he goes."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    log = make_log(path)
    await write(log, b"1\n")
    assert log.dropped == 1
    assert [line.split(": ")[2] for line in said()] == ["nobody reads it"]
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    await write(log, b"2\n")
    assert os.read(reader, 99) == b"2\n"
    await write(log, *[b"x" * 999 + b"\n"] * 500)
    assert 0 < log.dropped < 500
    received = os.read(reader, 1 << 20)
    assert received.count(b"x" * 999 + b"\n") * 1000 == len(received)
    lost = log.dropped
    assert received.count(b"\n") == 501 - lost
    await write(log, b"3\n")
    assert os.read(reader, 99) == b"3\n"
    os.close(reader)
    await write(log, b"4\n")
    assert log.dropped == lost + 1
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    await write(log, b"5\n")
    assert os.read(reader, 99) == b"5\n"
    os.close(reader)
    assert len(said()) == 6


async def test_full_disk_keeps_whole_lines_and_counts_the_others(
    disk: Path, said: Callable[[], list[str]]
) -> None:
    """Two workers write to it before, while and after there is no room."""
    path = disk / "log"
    logs = [make_log(path) for _ in range(2)]
    line = b'{"a":"' + b"x" * 91 + b'"}\n'
    for _ in range(20):
        for log in logs:
            for _ in range(30):
                log.write(line)
            log.flush()
        for log in logs:
            await settle(log)
    dropped = sum(log.dropped for log in logs)
    assert path.read_bytes() == line * (1200 - dropped)
    assert path.stat().st_size > SMALL_DISK - len(line)
    os.truncate(path, 10 * len(line))
    for log in logs:
        await write(log, line)
    assert path.read_bytes() == line * 12
    assert sum(log.dropped for log in logs) == dropped
    assert sum("No space left on device" in text for text in said()) == 2
    assert sum("written again" in text for text in said()) == 2


def test_half_a_line_is_left_where_another_wrote_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who knows nothing of our lock: his line is not cut off."""
    real_write = os.write
    path = tmp_path / "log"
    file = LogFile(str(path))
    assert file.append([]) == WriteOutcome()

    def write(descriptor: int, data: bytes) -> int:
        if path.stat().st_size:
            raise OSError(errno.ENOSPC, "full")
        taken = real_write(descriptor, data[:3])
        with path.open("ab") as other:
            other.write(b"other\n")
        return taken

    monkeypatch.setattr(os, "write", write)
    outcome = file.append([b"1\n", b"22\n"])
    assert outcome.lost == 1
    assert path.read_bytes() == b"1\n2other\n"
    monkeypatch.undo()
    file.close()


async def test_last_lines_are_written_at_the_end(tmp_path: Path) -> None:
    log = make_log(tmp_path / "log")
    log.write(b"last but one\n")
    log.flush()
    log.write(b"last\n")
    log.finish()
    assert (tmp_path / "log").read_bytes() == b"last but one\nlast\n"
    assert (log.taken, log.dropped) == (2, 0)


async def test_disk_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Callable[[], list[str]]
) -> None:
    """What waits for it is bounded; its lines are counted as lost, and the process ends."""
    monkeypatch.setattr("ocaserve.serving.access_log._LAST_S", 0.01)
    monkeypatch.setattr("ocaserve.serving.access_log._MOST_WAITING_BYTES", 100)
    answers = threading.Event()
    log = make_log(tmp_path / "log")
    await settle(log)
    log._writer.submit(answers.wait, lambda _: None)
    for _ in range(5):
        log.write(b"x" * 98 + b"\n")
        log.flush()
    assert (log.taken, log.dropped) == (5, 3)
    log.write(b"stuck\n")
    log.finish()
    assert (log.taken, log.dropped) == (6, 6)
    assert [line.split(": ")[2] for line in said()] == ["the disk does not answer"]
    answers.set()


async def test_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    log = make_log("-")
    log.write(b"shown\n")
    log.reopen()
    log.finish()
    log._file.close()
    assert capfd.readouterr().out == "shown\n"
