"""Comparing manifest and stores: each store by threads of its own, so that one that hangs, is gone
or refuses delays no other.
"""

from __future__ import annotations

import asyncio
import errno
import heapq
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import msgspec

from ocaserve.fill.index import Index, Row
from ocaserve.fill.manifest import Manifest
from ocaserve.fill.planner import Held, Plan, Rules, StoreRoom, make_plan
from ocaserve.fill.surveying import Seen, held_of, look_at, without_room
from ocaserve.fill.tally import Sums, Wanted, sum_up
from ocaserve.fill.threads import StoreThreads

_log = logging.getLogger(__name__)

_DOUBT_S = 60.0
_PATIENCE_S = 30.0  # with a store of which nothing more is seen
_LOOK_S = 0.5
_MOST_WANTED = 10  # that are told
_HANGS = "its disk does not answer"
_OF_THE_STORE = frozenset(
    {
        errno.EIO, errno.EROFS, errno.ENODEV, errno.ENXIO, errno.ENOSPC, errno.EDQUOT, errno.ESTALE,
        errno.ENOTCONN, errno.ETIMEDOUT, getattr(errno, "EUCLEAN", errno.EIO),
    }
)  # fmt: skip
"""What says of a store that it takes nothing now; all else may be one object's."""


FindPopularity = Callable[[], Mapping[str, float]]


class Compared(NamedTuple):
    """A plan, what it adds up to, and the stores as they were. faults: of stores, why. popularity:
    copies that clients want in a day, by key.
    """

    plan: Plan
    sums: Sums
    states: list[StoreRoom]
    faults: dict[str, str]
    popularity: Mapping[str, float]
    most_wanted: list[Wanted]


class Comparer:
    """Makes plans, one at a time.

    find_popularity: called in a thread; see `Compared`. patience_s: until a store is said to hang.
    """

    def __init__(
        self,
        stores: Sequence[Path],
        index: Index,
        threads: StoreThreads,
        rules: Rules,
        *,
        find_popularity: FindPopularity = dict,
        patience_s: float = _PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stores = stores
        self._index = index
        self._threads = threads
        self._rules = rules
        self._find_popularity = find_popularity
        self._patience_s = patience_s
        self._clock = clock
        self._doubts: dict[str, tuple[float, str]] = {}
        self._looking: dict[str, asyncio.Task[Seen]] = {}
        self._alive_at: dict[str, float] = {}
        self._one_at_a_time = asyncio.Lock()

    def doubt(self, store: str, error: OSError) -> None:
        """It could not be written: others are used for a while, if the error is the store's."""
        if error.errno in _OF_THE_STORE:
            self._doubts[store] = (self._clock() + _DOUBT_S, error.strerror or str(error))

    async def compare(self, manifest: Manifest) -> Compared:
        """What would be done now. Raises OSError of the index."""
        async with self._one_at_a_time:
            return await self._compare(manifest)

    async def _compare(self, manifest: Manifest) -> Compared:
        known, keys = await asyncio.to_thread(self._recall, manifest)
        tasks = [self._look(store, keys, known.get(str(store), {})) for store in self._stores]
        while any(
            self._may_answer(store, task) for store, task in zip(self._stores, tasks, strict=True)
        ):
            await asyncio.wait(tasks, timeout=_LOOK_S, return_when=asyncio.ALL_COMPLETED)
        seen = [
            self._judge(store, task, known.get(str(store), {}))
            for store, task in zip(self._stores, tasks, strict=True)
        ]
        return await asyncio.to_thread(self._decide, manifest, seen)

    def _recall(self, manifest: Manifest) -> tuple[dict[str, dict[str, Row]], set[str]]:
        known: dict[str, dict[str, Row]] = {}
        keys = {entry.key for entry in manifest.objects}
        for row in self._index.rows():
            known.setdefault(row.store, {})[row.key] = row
            keys.add(row.key)
        return known, keys

    def _look(self, store: Path, keys: set[str], known: Mapping[str, Row]) -> asyncio.Task[Seen]:
        name = str(store)
        task = self._looking.get(name)
        if task is None or task.done():
            all_keys = self._rules.is_exclusive

            def alive() -> None:
                self._alive_at[name] = self._clock()

            def look() -> Seen:
                return look_at(store, keys, known, self._index, alive, all_keys=all_keys)

            alive()
            task = self._looking[name] = asyncio.create_task(self._threads.run(name, look))
        return task

    def _may_answer(self, store: Path, task: asyncio.Task[Seen]) -> bool:
        """Whether it is to be waited for: a hanging one is asked once, until it answers."""
        return not task.done() and self._clock() < self._alive_at[str(store)] + self._patience_s

    def _judge(self, store: Path, task: asyncio.Task[Seen], known: Mapping[str, Row]) -> Seen:
        """What it is taken for: one that hangs has what it had, and takes nothing."""
        if not task.done():
            return Seen(without_room(store), [held_of(row) for row in known.values()], _HANGS)
        seen = task.result()
        until, why = self._doubts.get(str(store), (0.0, ""))
        if self._clock() >= until:
            return seen
        state = msgspec.structs.replace(seen.state, is_writable=False)
        return Seen(state, seen.held, seen.fault or why)

    def _decide(self, manifest: Manifest, seen: Sequence[Seen]) -> Compared:
        held: dict[str, list[Held]] = {}
        for each in seen:
            for copy in each.held:
                held.setdefault(copy.key, []).append(copy)
        states = [each.state for each in seen]
        now = time.time()
        popularity = self._find_popularity()
        plan = make_plan(manifest, held, states, popularity, self._rules, now)
        faults = {each.state.name: each.fault for each in seen if each.fault}
        most = [
            Wanted(key=key, copies_per_day=round(copies, 3))
            for key, copies in heapq.nlargest(_MOST_WANTED, popularity.items(), itemgetter(1))
        ]
        return Compared(plan, sum_up(manifest, plan, now), states, faults, popularity, most)
