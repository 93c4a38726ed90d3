"""A log that nobody takes keeps nobody waiting, and says what it lost."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ocaserve.logs.log_outlet import MOST_WAITING_BYTES, LogOutlet, _asking_put, stream_into

LINE = b"x" * 999 + b"\n"
MANY = 5 * MOST_WAITING_BYTES // len(LINE)


def describe(dropped: int) -> bytes:
    return b"dropped %d\n" % dropped


def pipe() -> tuple[int, int]:
    return os.pipe()


def sockets() -> tuple[int, int]:
    reading, writing = socket.socketpair()
    return reading.detach(), writing.detach()


def terminal() -> tuple[int, int]:
    reading, writing = os.openpty()
    return reading, writing


Make = Callable[[int], LogOutlet]


@pytest.fixture
def make_outlet() -> Iterator[Make]:
    with ExitStack() as stack:

        def make(descriptor: int) -> LogOutlet:
            outlet = LogOutlet(descriptor, describe)
            stack.callback(outlet.close)
            return outlet

        yield make


@pytest.fixture(params=[pipe, sockets, terminal])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    reading, writing = request.param()
    os.set_blocking(reading, False)
    yield reading, writing
    os.close(reading)
    os.close(writing)


def read_all(outlet: LogOutlet, reading: int) -> bytes:
    """What there is to read, with what the outlet puts out meanwhile."""
    found = b""
    while True:
        outlet.flush()
        try:
            found += os.read(reading, 1 << 20)
        except BlockingIOError:
            return found.replace(b"\r\n", b"\n")  # as a terminal writes it


def test_nobody_reads(make_outlet: Make, ends: tuple[int, int]) -> None:
    """It returns, keeps the first lines, counts the last ones, and tells when it flows again."""
    reading, writing = ends
    outlet = make_outlet(writing)
    for _ in range(MANY):
        outlet.write(LINE)
    assert os.get_blocking(writing), "whoever shares the descriptor finds it as it was"
    dropped = outlet.dropped
    assert 0 < dropped < MANY
    found = read_all(outlet, reading)
    assert found == LINE * (MANY - dropped) + describe(dropped)
    outlet.write(b"next\n")
    assert read_all(outlet, reading) == b"next\n"


def test_descriptor_that_cannot_be_opened_anew(
    make_outlet: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user's, or another system: it is asked whether it takes more."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    monkeypatch.setattr(sys, "platform", "freebsd14")
    outlet = make_outlet(writing)
    for _ in range(MANY):
        outlet.write(LINE)
    dropped = outlet.dropped
    assert dropped
    assert read_all(outlet, reading) == LINE * (MANY - dropped) + describe(dropped)
    assert _asking_put(writing)(b"x" * 100_000) < 100_000
    os.close(reading)
    with pytest.raises(BrokenPipeError):
        os.write(writing, b"x")
    outlet.write(b"to nobody\n")
    os.close(writing)


def test_full_disk_leaves_no_half_of_a_line(
    make_outlet: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The rest of a line comes first when there is room again."""
    room = 10
    real_write = os.write

    def write(descriptor: int, data: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(28, "No space left on device")
        taken = real_write(descriptor, data[:room])
        room -= taken
        return taken

    file = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    monkeypatch.setattr(os, "write", write)
    outlet = make_outlet(file)
    outlet.write(b"12345678\n")
    outlet.write(b"23456789\n")
    room = 1_000
    outlet.write(b"34567890\n")
    assert (tmp_path / "log").read_bytes() == b"12345678\n23456789\n34567890\n"
    os.close(file)


def test_closed_descriptor(make_outlet: Make) -> None:
    """Nobody wants to hear."""
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    make_outlet(writing).write(b"line\n")


def test_child_does_not_repeat_its_parent(make_outlet: Make, ends: tuple[int, int]) -> None:
    reading, writing = ends
    outlet = make_outlet(writing)
    for _ in range(MANY):
        outlet.write(LINE)
    outlet.forget()
    read_all(outlet, reading)
    outlet.write(b"child\n")
    assert read_all(outlet, reading) == b"child\n"


def test_what_is_printed_goes_the_same_way(make_outlet: Make, ends: tuple[int, int]) -> None:
    reading, writing = ends
    outlet = make_outlet(writing)
    print("a \udcff b", file=stream_into(outlet))
    assert read_all(outlet, reading) == b"a \\udcff b\n"
