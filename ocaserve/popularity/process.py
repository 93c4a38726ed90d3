"""The service `popularity`: adds up what workers tell, keeps it, and pins what is wanted most.

Its event loop does nothing but hear the supervisor; all else is one thread. One that a dead disk
holds up is late with what it knows, and serving is not.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import psutil
from msgspec import Struct

from ocaserve.host.courtesy import make_way
from ocaserve.host.memory import find_group_limit, lockable_bytes
from ocaserve.ledger.spool import SUFFIX, read_spool
from ocaserve.link import Link
from ocaserve.logs import flush_log
from ocaserve.popularity.demand_sums import DemandSums, per_day
from ocaserve.popularity.pinning import PinnedShown, Pins
from ocaserve.popularity.popularity_file import (
    DAY_S,
    Kept,
    file_of,
    read_popularity,
    write_popularity,
)
from ocaserve.runtime import DEMAND
from ocaserve.settings import Settings
from ocaserve.supervisor.service import Given, Service, leave_signals
from ocaserve.whole_files import replace_file

_log = logging.getLogger(__name__)

_LOOK_S = 2.0
_PIN_S = 5.0
_LEAST_PINNED = 500_000  # millionths: what was read less than half once need not be read by us
_MOST_PINNED = 10_000  # files whose status is asked for each time
_MOST_SHOWN = 20
_WRITING_SHARE = 200  # of the time, that writing the file may take
SHOWN = "popularity.json"


class MostWanted(Struct, frozen=True, kw_only=True):
    """An object that clients want much. copies_per_day: bytes sent by its size."""

    key: str
    copies_per_day: float
    is_pinned: bool


class PopularityShown(Struct, frozen=True, kw_only=True):
    """objects: that were asked for lately and are told apart."""

    objects: int
    most_wanted: list[MostWanted]
    pinned: PinnedShown


def popularity_service() -> Service:
    """For the supervisor."""
    return Service("popularity", run_popularity, depends_on=_needs)


def _needs(settings: Settings) -> object:
    if not settings.counts_demand:
        return None
    serve = settings.serve
    return serve.popularity_days, serve.pinned_bytes, settings.store, settings.appliance


def run_popularity(given: Given) -> int:
    """Until told to stop; returns the exit status."""
    leave_signals()
    make_way()
    asyncio.run(_run(given))
    return 0


async def _run(given: Given) -> None:
    link, loop = Link(given.channel), asyncio.get_running_loop()
    is_over = link.open_until_stopped(loop)
    watching = await asyncio.to_thread(Watching, given.settings, given.folder)
    link.tell_ready(loop)
    while not is_over.is_set():
        await asyncio.to_thread(watching.look, lambda: not is_over.is_set())
        flush_log()
        try:
            async with asyncio.timeout(_LOOK_S):
                await is_over.wait()
        except TimeoutError:
            continue
    await asyncio.to_thread(watching.finish)


class Watching:
    """All of it, in one thread at a time.

    folder: that of this run. clock: seconds that never go back.
    """

    def __init__(
        self, settings: Settings, folder: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        serve = settings.serve
        self._clock = clock
        self._half_life_s = serve.popularity_days * DAY_S
        self._sums = DemandSums(self._half_life_s)
        self._spools = folder / DEMAND
        self._shown_at = folder / SHOWN
        self._file = file_of(settings, folder)
        self._read_to: dict[str, int] = {}
        self._complete: set[Path] = set()
        self._write_at = self._pin_at = 0.0
        self._fault = ""
        self._pins: Pins | None = None
        if serve.pinned_bytes:
            self._pins = Pins(
                [Path(store.path) for store in settings.store], serve.pinned_bytes, clock,
                lockable_bytes(psutil.virtual_memory().total, find_group_limit()),
            )  # fmt: skip
        self._recall()

    def _recall(self) -> None:
        try:
            kept = read_popularity(self._file)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            _log.warning("popularity: %s is not used: %s", self._file, error)
            return
        self._sums.at, self._sums.copies, self._read_to = kept.at, kept.copies, kept.read_to

    def look(self, goes_on: Callable[[], bool]) -> None:
        """Read what workers have told; write down and pin what is due. goes_on: asked often."""
        steps = self._add_told, self._write_if_due, lambda: self._pin_if_due(goes_on), self._show
        self._take(steps)

    def _take(self, steps: Iterable[Callable[[], None]]) -> None:
        """Each alone: where nothing can be written, what is deleted is let go of all the same."""
        faults = []
        for step in steps:
            try:
                step()
            except OSError as error:
                faults.append(error.strerror or str(error))
        self._say_fault("; ".join(dict.fromkeys(faults)))

    def _write_if_due(self) -> None:
        now = self._clock()
        if now >= self._write_at:
            try:
                self._write()
            finally:
                self._write_at = self._clock() + _WRITING_SHARE * (self._clock() - now)

    def _pin_if_due(self, goes_on: Callable[[], bool]) -> None:
        if self._pins is not None and self._clock() >= self._pin_at:
            wanted = dict(self._sums.top(_MOST_PINNED))
            worth = {key: copies for key, copies in wanted.items() if copies >= _LEAST_PINNED}
            is_done = self._pins.adjust(worth, goes_on)
            self._pin_at = self._clock() + (_PIN_S if is_done else 0.0)

    def _show(self) -> None:
        replace_file(self._shown_at, msgspec.json.encode(self.show()), mode=0o600)

    def _say_fault(self, fault: str) -> None:
        """Once while it lasts."""
        if fault and fault != self._fault:
            _log.error("popularity: %s", fault)
        self._fault = fault

    def _add_told(self) -> None:
        files = {file.name: file for file in self._spools.glob(f"*{SUFFIX}")}
        self._read_to = {name: to for name, to in self._read_to.items() if name in files}
        self._sums.age(time.time())
        for name, file in files.items():
            part = read_spool(file, self._read_to.get(name, 0))
            for record in part.records:
                self._sums.add(record.sent)
            self._read_to[name] = part.stop
            if part.is_complete:
                self._complete.add(file)

    def _write(self) -> None:
        write_popularity(self._file, Kept(self._sums.at, self._sums.copies, self._read_to))
        for file in self._complete:  # all of it is written down
            file.unlink(missing_ok=True)
        self._complete.clear()

    def finish(self) -> None:
        """The last words."""
        self._take((self._add_told, self._write))

    def show(self) -> PopularityShown:
        """What is so now."""
        pinned = frozenset[str]() if self._pins is None else self._pins.keys
        return PopularityShown(
            objects=len(self._sums.copies),
            most_wanted=[
                MostWanted(
                    key=key, copies_per_day=round(per_day(copies, self._half_life_s), 3),
                    is_pinned=key in pinned,
                )
                for key, copies in self._sums.top(_MOST_SHOWN)
            ],
            pinned=PinnedShown() if self._pins is None else self._pins.show(),
        )  # fmt: skip


def read_shown(folder: Path) -> PopularityShown | None:
    """What the process of this run has shown last; None if nothing yet. Raises OSError."""
    try:
        return msgspec.json.decode((folder / SHOWN).read_bytes(), type=PopularityShown)
    except FileNotFoundError:
        return None
