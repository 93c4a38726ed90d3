"""Residency: what mincore says, what is remembered of it, and who is told the truth."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocaserve.serving.residency import FRESH_TICKS, WINDOW_BITS, Residency, tells_truth

WINDOW = 1 << WINDOW_BITS
SIZE = 4 * WINDOW + 5000
NOW = 100


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "object"
    path.write_bytes(b"x" * SIZE)
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def residency(file: int) -> Iterator[Residency]:
    residency = Residency(file, SIZE)
    yield residency
    residency.close()


def evict(file: int, start: int = 0, length: int = 0) -> None:
    os.posix_fadvise(file, start, length, os.POSIX_FADV_DONTNEED)


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        pytest.param(0, 1, id="first_byte"),
        pytest.param(SIZE - 1, SIZE, id="last_byte"),
        pytest.param(0, SIZE, id="whole_file"),
        pytest.param(WINDOW - 1, WINDOW + 1, id="across_windows"),
    ],
)
def test_cached_file_is_resident(residency: Residency, start: int, stop: int) -> None:
    assert residency.is_resident(start, stop, NOW)


def test_evicted_file_is_not(residency: Residency, file: int) -> None:
    evict(file)
    assert not residency.is_resident(0, SIZE, NOW)
    assert not residency.is_resident(SIZE - 1, SIZE, NOW)


def test_hole_makes_only_its_own_range_cold(residency: Residency, file: int) -> None:
    evict(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)  # no read-ahead: the hole stays one
    os.pread(file, WINDOW + 8192, 0)
    os.pread(file, WINDOW - 16384, WINDOW + 16384)
    assert residency.is_resident(0, WINDOW, NOW)
    assert not residency.is_resident(0, 2 * WINDOW, NOW)
    assert residency.is_resident(WINDOW, WINDOW + 8192, NOW)
    assert not residency.is_resident(WINDOW + 8192, WINDOW + 8193, NOW)
    assert residency.is_resident(WINDOW + 16384, 2 * WINDOW, NOW)


def test_answer_is_kept_for_a_while_and_no_longer(residency: Residency, file: int) -> None:
    assert residency.is_resident(0, WINDOW, NOW)
    evict(file)
    assert residency.is_resident(0, WINDOW, NOW + FRESH_TICKS - 1)
    assert not residency.is_resident(0, WINDOW, NOW + FRESH_TICKS)


@pytest.mark.parametrize("counts", [True, False])
def test_window_once_whole_is_counted_where_the_kernel_counts(
    residency: Residency, file: int, monkeypatch: pytest.MonkeyPatch, counts: bool
) -> None:
    asked: list[int] = []
    if not counts:  # an old kernel, or a filter of system calls, says no
        monkeypatch.setattr("ocaserve.serving.residency._syscall", lambda *_: -1)
    ask_pages = Residency._ask_pages

    def ask(self: Residency, first: int, count: int) -> bool:
        asked.append(first)
        return ask_pages(self, first, count)

    monkeypatch.setattr(Residency, "_ask_pages", ask)
    assert residency.is_resident(0, SIZE, NOW)
    assert asked == [0]
    assert residency.is_resident(0, SIZE, NOW + FRESH_TICKS)
    assert len(asked) == (1 if counts and _counts_pages(file) else 2)
    evict(file)
    os.pread(file, SIZE - 2 * WINDOW, 2 * WINDOW)
    assert not residency.is_resident(0, SIZE, NOW + 2 * FRESH_TICKS)
    assert residency.is_resident(2 * WINDOW, SIZE, NOW + 2 * FRESH_TICKS)


def _counts_pages(file: int) -> bool:
    """Whether this kernel has cachestat(2), and lets us call it."""
    return Residency(file, SIZE)._are_cached(0, 1)


def test_forgotten_pages_are_asked_about_again(residency: Residency, file: int) -> None:
    assert residency.is_resident(0, SIZE, NOW)
    evict(file)
    residency.forget(0, SIZE)
    assert not residency.is_resident(0, 1, NOW)
    assert not residency.is_resident(SIZE - 1, SIZE, NOW)


@pytest.mark.parametrize(
    ("start", "stop", "known", "unknown"),
    [
        pytest.param(0, SIZE, [0, 1, 2, 3, 4], [], id="whole_file"),
        pytest.param(0, WINDOW, [0], [1], id="first"),
        pytest.param(1, 3 * WINDOW, [1, 2], [0, 3], id="two_after_a_part"),
        pytest.param(WINDOW, 3 * WINDOW - 1, [1], [0, 2], id="one_before_a_part"),
        pytest.param(4 * WINDOW, SIZE, [4], [3], id="end_of_the_file"),
        pytest.param(5, WINDOW - 5, [], [0], id="part_of_one"),
    ],
)
def test_sent_windows_are_not_asked_about(
    residency: Residency, file: int, start: int, stop: int, known: list[int], unknown: list[int]
) -> None:
    residency.confirm(start, stop, NOW)
    evict(file)
    for window in known:
        assert residency.is_resident(window * WINDOW, window * WINDOW + 1, NOW)
    for window in unknown:
        assert not residency.is_resident(window * WINDOW, window * WINDOW + 1, NOW)


def test_hole_is_asked_about_by_itself(residency: Residency, file: int) -> None:
    """In a window with holes each range is asked about; the window again only after a while."""
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
    evict(file)
    os.pread(file, 4096, 0)
    assert residency.is_resident(0, 1, NOW)
    assert not residency.is_resident(8192, 8193, NOW)
    os.pread(file, 4096, 8192)
    assert residency.is_resident(8192, 8193, NOW + 1)
    evict(file)
    assert residency.is_resident(8192, 8193, NOW + 2)
    residency.forget(0, 1)
    assert not residency.is_resident(8192, 8193, NOW + 2)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_NORMAL)
    os.pread(file, WINDOW, 0)
    assert residency.is_resident(0, WINDOW, NOW + FRESH_TICKS)
    evict(file)
    assert residency.is_resident(0, WINDOW, NOW + FRESH_TICKS)


def test_memory_of_ranges_is_bounded(residency: Residency, file: int) -> None:
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
    evict(file)
    os.pread(file, 65_536, 0)
    assert not residency.is_resident(0, WINDOW, NOW)
    for stop in range(1, 5_000):
        assert residency.is_resident(0, stop, NOW)
    assert len(residency._ranges) <= 1024


def test_asking_reads_nothing(residency: Residency, file: int) -> None:
    evict(file)
    for _ in range(3):
        assert not residency.is_resident(0, SIZE, NOW)


def test_owner_is_told_the_truth(file: int) -> None:
    assert tells_truth(file, os.fstat(file))


@pytest.mark.parametrize(
    ("mode", "truthful"),
    [pytest.param(0o644, False, id="reader"), pytest.param(0o666, True, id="writer")],
)
def test_stranger_is_told_the_truth_only_if_it_may_write(
    tmp_path: Path, mode: int, truthful: bool
) -> None:
    """Asked in a child process, because it has to give up being root."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    path = tmp_path / "object"
    path.write_bytes(b"x" * 8192)
    path.chmod(mode)
    descriptor = os.open(path, os.O_RDONLY)
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o011)
    child = os.fork()
    if not child:
        os.setresuid(65534, 65534, 65534)
        os._exit(int(tells_truth(descriptor, os.fstat(descriptor))))
    os.close(descriptor)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == int(truthful)
