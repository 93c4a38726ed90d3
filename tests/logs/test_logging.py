"""One cause makes a bounded number of lines; a line is one line, without secrets."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator

import pytest

from ocaserve.logs import LineFormatter, SteadyHandler
from ocaserve.logs.bounding import BURST, REFILL_S, Bound
from ocaserve.logs.log_outlet import LogOutlet

TOKEN = "Zm9vYmFyLWJhei1xdXV4LTAxMjM0NTY3ODlhYmNkZWY"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def record_at(line: int, text: str = "bad %s") -> logging.LogRecord:
    return logging.LogRecord("x", logging.INFO, "/a.py", line, text, ("thing",), None)


def test_flood_of_one_place() -> None:
    """A burst, then a line each few seconds that tells how many there were."""
    clock = Clock()
    bound = Bound(clock)
    shown = told = 0
    for second in range(600):
        clock.now += 1
        shown += sum(bound.admits(record_at(1)) for _ in range(100))
        told += sum(left_out.records for left_out in bound.take_left_out())
        assert shown <= BURST
        if second == 3:
            assert bound.admits(record_at(2)), "another place has a budget of its own"
    clock.now += REFILL_S
    last = list(bound.take_left_out())
    assert shown + told + sum(left_out.records for left_out in last) == 60_000
    assert str(last[0]).endswith(" more like this were left out: bad thing")
    assert list(bound.take_left_out()) == []
    clock.now += REFILL_S
    assert bound.admits(record_at(1)), "when it is over, its place may speak again"


def test_lines_of_a_flood_are_bounded() -> None:
    clock = Clock()
    bound = Bound(clock)
    lines = 0
    for _ in range(600):
        clock.now += 1
        lines += sum(bound.admits(record_at(1)) for _ in range(100))
        lines += len(list(bound.take_left_out()))
    assert lines <= BURST + 600 / REFILL_S


@pytest.fixture
def log() -> Iterator[tuple[logging.Logger, int]]:
    """A logger with the handler of the program, and where its lines come out."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    outlet = LogOutlet(writing, lambda dropped: b"dropped %d\n" % dropped)
    handler = SteadyHandler(outlet)
    handler.setFormatter(LineFormatter("ocaserve: %(message)s"))
    logger = logging.Logger("tried")
    logger.addHandler(handler)
    yield logger, reading
    outlet.close()
    os.close(reading)
    os.close(writing)


def read_lines(reading: int) -> list[str]:
    return os.read(reading, 1 << 20).decode().splitlines()


def test_flood_ends_with_a_count(
    log: tuple[logging.Logger, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger, reading = log
    monkeypatch.setattr("ocaserve.logs.bounding.REFILL_S", 1e9)
    for number in range(BURST + 7):
        logger.warning("bad %d", number)
    assert read_lines(reading) == [f"ocaserve: bad {number}" for number in range(BURST)]
    monkeypatch.setattr("ocaserve.logs.bounding.REFILL_S", 1e-9)
    logger.handlers[0].flush()
    (line,) = read_lines(reading)
    assert line == f"ocaserve: 7 more like this were left out: bad {BURST}"


@pytest.mark.parametrize("hostile", ["\n", "\r\n", "\x1b[2J", "\x00", "\u2028", "\x85"])
def test_nothing_begins_a_line_of_its_own(log: tuple[logging.Logger, int], hostile: str) -> None:
    """Neither in a message nor in the text of an exception."""
    logger, reading = log
    logger.warning("bad %s", f"a{hostile}ocaserve: forged")
    error = ValueError(f"b{hostile}ocaserve: forged")
    logger.error("bad", exc_info=error)
    first, second, *traceback = read_lines(reading)
    assert first.startswith("ocaserve: bad a\\x")
    assert second == "ocaserve: bad"
    assert all(line.startswith("    ") for line in traceback)
    assert all(line.isprintable() for line in traceback)


def test_no_token_and_no_endless_line(log: tuple[logging.Logger, int]) -> None:
    logger, reading = log
    logger.warning("bad %s %s %s", f"/a;t={TOKEN}", f"/b%3ft%3d{TOKEN}", "word " * 10_000)
    (line,) = read_lines(reading)
    assert TOKEN not in line
    assert line.startswith("ocaserve: bad /a;t=- /b%3ft%3d- word word")
    assert re.search(r"\.\.\. \(50\d+ bytes\)$", line)
    assert len(line) < 9_000
