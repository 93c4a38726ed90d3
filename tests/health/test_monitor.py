"""The loop, and the parts of it that ask the real machine."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import monotonic

import pytest

from ocaserve.health.hysteresis import Raised
from ocaserve.health.model import Level, Observation, Problem, Timing
from ocaserve.health.monitor import HostWatch, Monitor
from ocaserve.health.stores import (
    StoreFacts,
    StoresComponent,
    StoreWatch,
    find_object,
    look_at,
    read_from_disk,
)
from ocaserve.host.reading import Sample
from ocaserve.settings.health import HealthSettings
from tests.support.waiting import eventually


class Scripted:
    """A component that says what it is told to; a reason that is an exception is raised."""

    def __init__(self, name: str, *said: str | Exception) -> None:
        self.name = name
        self.timing = Timing(0, 0)
        self._said = iter(said)

    def observe(self, now: float) -> Observation:
        reason = next(self._said, "")
        if isinstance(reason, Exception):
            raise reason
        problems = (Problem(Level.WARNING, "it", reason),) if reason else ()
        return Observation("fine", problems)


def monitor_of(*components: Scripted) -> Monitor:
    clock, wall = itertools.count(10), itertools.count(1_000_000)
    monitor = Monitor(0, lambda: None, lambda: next(clock), lambda: next(wall))
    for component in components:
        monitor.add(component)
    return monitor


def test_rounds(caplog: pytest.LogCaptureFixture) -> None:
    """Each change of a level is logged once; `since` is of the wall clock."""
    caplog.set_level(logging.WARNING)
    monitor = monitor_of(Scripted("a", "", "hot", "hotter", ""), Scripted("b"))
    assert monitor.health.findings == ()
    seen = [monitor.look_around() for _ in range(4)]
    assert [health.level for health in seen] == [Level.OK, Level.WARNING, Level.WARNING, Level.OK]
    assert [health.findings[0].reason for health in seen] == ["fine", "hot", "hotter", "fine"]
    assert seen[1].findings[0].since == seen[2].findings[0].since == 1_000_001
    assert caplog.messages == ["health: a is warning: hot", "health: a is ok: fine"]


@pytest.mark.filterwarnings("ignore")
def test_a_defect_is_an_error() -> None:
    """Of its component alone; the others are still looked at."""
    health = monitor_of(Scripted("a", RuntimeError("oh")), Scripted("b")).look_around()
    assert [finding.level for finding in health.findings] == [Level.ERROR, Level.OK]
    assert "RuntimeError('oh')" in health.findings[0].reason


def test_names_are_unique() -> None:
    monitor = monitor_of(Scripted("a"))
    with pytest.raises(ValueError, match="component 'a'"):
        monitor.add(Scripted("a"))


async def test_runs_until_cancelled() -> None:
    """Off the event loop."""
    threads: set[int] = set()
    seen = asyncio.Event()
    loop = asyncio.get_running_loop()

    def look() -> None:
        threads.add(threading.get_ident())
        loop.call_soon_threadsafe(seen.set)

    running = asyncio.create_task(Monitor(0.001, look).run())
    await asyncio.wait_for(seen.wait(), 10)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert threads
    assert threading.get_ident() not in threads


async def test_successor() -> None:
    """It says at once what was shown before, and tells what is to be remembered as that changes."""
    memories: list[Mapping[str, Raised]] = []
    seen = asyncio.Event()

    def remember(shown: Mapping[str, Raised]) -> None:
        memories.append(shown)
        if not shown:
            seen.set()

    before = {"a": Raised(since=8.0, subjects={"it": (Level.WARNING, "hot")})}
    clock = itertools.count(10)
    monitor = Monitor(
        0.001, lambda: None, lambda: next(clock), lambda: 1000.0, before=before, remember=remember
    )
    monitor.add(Scripted("a", "hotter", "hot", "", "hot"))
    monitor.add(Scripted("b"))
    assert monitor.health.reasons == ("a: hot",)
    assert monitor.health.level is Level.WARNING
    running = asyncio.create_task(monitor.run())
    await asyncio.wait_for(seen.wait(), 10)
    running.cancel()
    await asyncio.wait([running])
    assert memories[0] == {}  # "hotter" was no news


def test_host_watch() -> None:
    """A reading takes two samples."""
    samples = iter([Sample(1.0, 10.0, 5.0), Sample(2.0, 12.0, 6.0)])
    watch = HostWatch(lambda: next(samples))
    watch.look()
    assert watch.reading is None
    watch.look()
    assert watch.reading is not None
    assert watch.reading.cpu_busy == 0.5


def test_host_watch_of_a_defect() -> None:
    """Said by those who read, for as long as it lasts; then again a reading takes two samples."""
    good = [Sample(float(at), 10.0 + 2 * at, 5.0 + at) for at in range(5)]
    script: Iterator[Sample | Exception] = iter(
        [good[0], good[1], PermissionError(13, "not yours"), good[3], good[4]]
    )

    def sample() -> Sample:
        taken = next(script)
        if isinstance(taken, Exception):
            raise taken
        return taken

    watch = HostWatch(sample)
    watch.look()
    watch.look()
    assert watch.read() is watch.reading is not None
    watch.look()
    assert watch.reading is None
    with pytest.raises(PermissionError, match="not yours"):
        watch.read()
    watch.look()
    assert watch.read() is None
    watch.look()
    assert watch.read() is not None


# -- looking at stores ---------------------------------------------------------------------------


def test_look_at_a_store(tmp_path: Path) -> None:
    assert find_object(str(tmp_path)) is None
    (tmp_path / "empty").touch()
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "season" / "1").mkdir(parents=True)
    (tmp_path / "season" / "1" / "x.mp4").write_bytes(b"x" * 10_000)
    assert find_object(str(tmp_path)) == str(tmp_path / "season" / "1" / "x.mp4")
    facts = look_at(str(tmp_path))
    assert (facts.failure, facts.waited_s) == ("", 0)
    assert 0 < facts.free <= facts.total


def test_look_at_no_store(tmp_path: Path) -> None:
    assert look_at(str(tmp_path / "gone")).failure == "No such file or directory"


def test_object_that_went(tmp_path: Path) -> None:
    """Says nothing about the disk."""
    read_from_disk(str(tmp_path / "gone"))


@pytest.fixture
def stalled() -> Iterator[tuple[StoreWatch, threading.Event]]:
    """A store that answers once, and then not before it is let go."""
    go = threading.Event()
    looks = itertools.count()

    def look(path: str) -> StoreFacts:
        if next(looks):
            go.wait(20)
        return StoreFacts(path, 50, 100)

    watch = StoreWatch("/d", look)
    yield watch, go
    watch.end()
    go.set()


@pytest.mark.slow
def test_stalled_store(stalled: tuple[StoreWatch, threading.Event]) -> None:
    """Said while it stalls, forgotten when it answers; workers that met errors are an error."""
    watch, go = stalled
    failed = [0]
    settings = HealthSettings(store_stall_warning_s=0.05, store_stall_error_s=100)
    component = StoresComponent(Timing(0, 0), settings, [watch], lambda: failed[0])

    def reasons() -> list[str]:
        return [problem.reason for problem in component.observe(monotonic()).problems]

    said = eventually(reasons, "the stall is seen")
    assert said[0].startswith("/d has not answered for ")
    go.set()
    eventually(lambda: not reasons(), "it answers again")
    failed[0] = 2
    assert reasons() == ["workers met I/O errors in a store"]
