"""The loop, and the parts of it that ask the real machine."""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import monotonic
from typing import cast

import pytest

from ocaserve.health.hysteresis import Raised
from ocaserve.health.model import Level, Observation, Timing, Trouble
from ocaserve.health.monitor import HostWatch, Monitor
from ocaserve.health.store_looks import StoreFacts, StoreWatch, look_at
from ocaserve.health.stores import HeldStore, StoresComponent
from ocaserve.host.host_reading import Sample
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
        problems = (Trouble(Level.WARNING, "it", reason),) if reason else ()
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
    assert (look_at(str(tmp_path)).failure, look_at(str(tmp_path)).tried) == ("", 0)
    (tmp_path / "empty").touch()
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "season" / "1").mkdir(parents=True)
    (tmp_path / "season" / "1" / "x.mp4").write_bytes(b"x" * 10_000)
    facts = look_at(str(tmp_path))
    assert (facts.failure, facts.waited_s, facts.tried) == ("", 0, 1)
    assert (facts.device, facts.inode) == (tmp_path.stat().st_dev, tmp_path.stat().st_ino)
    assert 0 < facts.free <= facts.total


def test_look_at_no_store(tmp_path: Path) -> None:
    assert look_at(str(tmp_path / "gone")).failure == "No such file or directory"


def test_look_without_means(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without descriptors knows nothing new of the store, and looks again."""
    answers: list[StoreFacts | OSError] = [
        StoreFacts("/d", 1, 2), OSError(errno.EMFILE, "Too many open files"), StoreFacts("/d", 3, 4)
    ]  # fmt: skip
    found: list[int] = []
    monkeypatch.setattr("ocaserve.health.store_looks.LOOK_EVERY_S", 0.01)

    def look(_: str) -> StoreFacts:
        found.append(facts.free if (facts := watch.facts(0)) else 0)
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, OSError):
            raise answer
        return answer

    gate = threading.Event()

    def look_when_begun(path: str) -> StoreFacts:
        gate.wait(10)
        return look(path)

    watch = StoreWatch("/d", look_when_begun)
    gate.set()
    eventually(lambda: 3 in found, "it looks again")
    watch.end()
    assert found[:4] == [0, 1, 1, 3]


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
    """Said while it stalls, forgotten when it answers."""
    watch, go = stalled
    settings = HealthSettings(store_stall_warning_s=0.05, store_stall_error_s=100)
    component = StoresComponent(Timing(0, 0), settings, [watch], dict)

    def reasons() -> list[str]:
        return [problem.reason for problem in component.observe(monotonic()).problems]

    said = eventually(reasons, "the stall is seen")
    assert said[0].startswith("/d has not answered for ")
    go.set()
    eventually(lambda: not reasons(), "it answers again")


class Found:
    """A watch that has found this."""

    path = "/d"

    def __init__(self, facts: StoreFacts) -> None:
        self._facts = facts

    def facts(self, _: float) -> StoreFacts:
        return self._facts


def test_workers_that_serve_another_folder() -> None:
    """An error if it stays so: they take another folder within a second."""
    held = {"/d": [HeldStore(False, 8, 2), HeldStore(False, 8, 3)]}
    watch = cast(StoreWatch, Found(StoreFacts("/d", device=8, inode=3)))
    component = StoresComponent(Timing(0, 0), HealthSettings(), [watch], lambda: held)
    assert component.observe(100.0).problems == ()
    assert component.observe(102.0).problems == ()
    (problem,) = component.observe(104.0).problems
    assert problem.reason == "1 of 2 workers serve another folder than /d is now"
    held["/d"][0] = HeldStore(False, 8, 3)
    assert component.observe(105.0).problems == ()
    held["/d"][0] = HeldStore(False, 8, 2)
    assert component.observe(106.0).problems == ()
