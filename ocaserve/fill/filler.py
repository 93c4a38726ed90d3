"""The work of filling: compare, plan, have it done through the queue, and do it.

The queue is a cache of intent: each comparison ensures again what is missing, so what an engine may
lose costs time. Escalation is the delay of a message: a master of an object may ask the origin at
once; the others ask their peers, and everybody after `escalation_s`. Whoever has published an
object has the others' messages due at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import msgspec
from msgspec import Struct

from ocaserve.daily_window import read_window
from ocaserve.fill.bringing import Means, NoSourceError, NotNowError, Order, WrongDigestError, bring
from ocaserve.fill.comparing import Compared, Comparer, FindPopularity
from ocaserve.fill.gate import Gate
from ocaserve.fill.hastening import Hastener
from ocaserve.fill.holdings import HoldingsMap
from ocaserve.fill.manifest import Entry, Manifest, Source
from ocaserve.fill.manifests import Manifests
from ocaserve.fill.pieces import PiecesDone
from ocaserve.fill.planner import Action, Kind, Plan, Rules
from ocaserve.fill.setbacks import Setbacks
from ocaserve.fill.store_turns import StoreTurns
from ocaserve.fill.storing import evict, forget_started
from ocaserve.fill.surveying import is_as_known
from ocaserve.fill.tally import sum_up
from ocaserve.queue import (
    Delivery,
    Kept,
    Message,
    MessageStateError,
    QueueError,
    Queues,
    UnknownMessageError,
    encode_body,
)
from ocaserve.queue.model import receipt_of
from ocaserve.queue.states import MessageState
from ocaserve.settings.fill import Fill

_log = logging.getLogger(__name__)

_HOLD_S = 60.0
_EXTEND_S = 20.0
_POP_WAIT_S = 5.0  # so that a window that closes is noticed
_RETRY_S = 5.0  # after a failure of the engine, and for what a source may give later
_MOST_RETRY_S = 300.0
_TRIES = 1_000  # what cannot be had today may be tomorrow; the planner would push it again
_ENSURED_AT_ONCE = 500
_MOST_HURRIED = 10_000
_STEP_S = 10.0  # of the wall clock, that is more than the slewing of NTP


class Wish(Struct, frozen=True, kw_only=True):
    """The body of a message. since: when it was first wanted, seconds since the epoch."""

    key: str
    since: float


class Site(NamedTuple):
    """me: this appliance's id. peers: URLs of the others, by id. controls: URLs of the control
    addresses of those that share pieces.
    """

    me: str
    peers: dict[str, str]
    controls: Sequence[str] = ()


class ObjectUnderWay(NamedTuple):
    """An object that is being fetched."""

    entry: Entry
    store: str
    pieces: PiecesDone
    may_ask_origin: bool = False


class Filler:
    """Keeps the stores as the manifest has them. `stores` are folders."""

    def __init__(
        self,
        settings: Fill,
        site: Site,
        stores: Sequence[Path],
        means: Means,
        manifests: Manifests,
        queues: Queues,
        find_popularity: FindPopularity = dict,
    ) -> None:
        self._settings = settings
        self._site = site
        self.gate = Gate(read_window(settings.window, settings.time_zone))
        self.means = means._replace(why_not=self.gate.why_not)
        self.manifests = manifests
        self._queues = queues
        self._queue = f"fill.{site.me}"
        rules = Rules(high=settings.high_watermark, is_exclusive=settings.exclusive)
        self._comparer = Comparer(
            stores, means.held, means.threads, rules, find_popularity=find_popularity
        )
        self._turns = StoreTurns(site.me, [*site.peers], settings.masters, settings.escalation_s)
        self.compared = Compared(Plan(actions=[]), _NOTHING, [], {}, {}, [])
        self.planned_at = 0.0
        self.holdings = HoldingsMap()
        self._stores_by_key: dict[str, str] = {}
        self._entries: dict[str, Entry] = {}
        self._by_digest: dict[str, Entry] = {}
        self._is_stale = asyncio.Event()
        self._has_plan = asyncio.Event()
        self.doing: dict[str, ObjectUnderWay] = {}
        self.setbacks = Setbacks()
        self.published = Counter[str]()
        self.evicted = 0
        self._hastener = Hastener(queues, [*site.peers])

    # -- planning --------------------------------------------------------------------------------

    def change(self) -> None:
        """Something is different: plan anew, soon."""
        self._is_stale.set()

    async def keep_planning(self) -> None:
        """Now, when something has changed, when something is due, and every few minutes."""
        with contextlib.suppress(QueueError):
            await self._take_back()
        while True:
            self._is_stale.clear()
            try:
                # Without a manifest nothing is known of what is wanted, and nothing is unwanted.
                if self.manifests.taken_at:
                    await self._plan_once()
            except (OSError, QueueError) as error:
                self.setbacks.fail(f"planning: {error}")
            with contextlib.suppress(TimeoutError):
                # asyncio.wait_for of Python 3.11 forgets a cancellation that meets the event.
                async with asyncio.timeout(self._pause()):
                    await self._is_stale.wait()

    def _pause(self) -> float:
        due = self.compared.sums.next_due
        if due is None:
            return self._settings.plan_s
        return max(0.1, min(self._settings.plan_s, due - time.time()))

    async def _take_back(self) -> None:
        """What a process before us held, which is no more: nobody else takes from this queue."""
        for kept in await self._queues.peek(self._queue, MessageState.HELD, _MOST_HURRIED):
            receipt = receipt_of(kept.id, kept.tries)
            await self._queues.release(self._queue, receipt, reason="its process is gone")

    async def _plan_once(self) -> None:
        manifest = self.manifests.current
        finished = self.published.total()
        compared = await self._comparer.compare(manifest)
        self._entries, self._by_digest, self._stores_by_key = await asyncio.to_thread(
            _by_name, manifest, compared
        )
        self.compared, self.planned_at = compared, time.time()
        await asyncio.to_thread(_note_holdings, self.holdings, manifest, compared)
        if self.published.total() != finished:  # it does not know of those
            self.change()
        self._turns.keep(self._entries)
        self.setbacks.keep(self._entries)
        self._has_plan.set()
        for action in compared.plan.of(Kind.EVICT):
            await self._evict(action)
        await self._forget_started(compared)
        fetches = compared.plan.of(Kind.FETCH)
        await self._ensure([manifest.objects[a.place] for a in fetches if a.place is not None])
        await self._queues.kick(self._queue, _MOST_HURRIED)

    async def compare(self) -> Compared:
        """What would be done now. Raises OSError of the index."""
        return await self._comparer.compare(self.manifests.current)

    async def _evict(self, action: Action) -> None:
        try:
            await self.means.threads.run(action.store, evict, Path(action.store), action.key)
            await asyncio.to_thread(self.means.held.drop, action.key, action.store)
        except OSError as error:  # of this one: the others go
            self.setbacks.fail(
                f"{action.key} cannot be removed from {action.store}: {error.strerror}"
            )
            return
        self.evicted += 1
        _log.info("fill: %s is removed from %s: %s", action.key, action.store, action.why)

    async def _forget_started(self, compared: Compared) -> None:
        """What was begun of objects that are no longer wanted, or are wanted elsewhere."""
        for state in compared.states:
            names = [name for name in state.started if not self._is_started_here(name, state.name)]
            if not names:
                continue
            try:
                await self.means.threads.run(state.name, forget_started, Path(state.name), names)
                for name in names:
                    await asyncio.to_thread(self.means.held.end, name, state.name)
            except OSError as error:
                self.setbacks.fail(
                    f"{state.name}: what was begun cannot be removed: {error.strerror}"
                )

    def _is_started_here(self, name: str, store: str) -> bool:
        if name in self.doing:
            return self.doing[name].store == store
        entry = self._entries.get(name)
        return entry is not None and self._stores_by_key.get(entry.key, store) == store

    async def _ensure(self, entries: Sequence[Entry]) -> None:
        now = time.time()
        for start in range(0, len(entries), _ENSURED_AT_ONCE):
            some = entries[start : start + _ENSURED_AT_ONCE]
            await self._queues.ensure(self._queue, [_message(entry, now) for entry in some])

    async def keep_watching_clock(self) -> None:
        """Messages are due by the wall clock: where it was set, what waits is tried now."""
        offset = time.time() - time.monotonic()
        while True:
            await asyncio.sleep(1.0)
            step = time.time() - time.monotonic() - offset
            if abs(step) > _STEP_S:
                offset += step
                _log.warning("fill: the clock was set by %+.0f s", step)
                self.change()
                with contextlib.suppress(QueueError):
                    await self._hurry()

    # -- fetching --------------------------------------------------------------------------------

    async def keep_fetching(self) -> None:
        """One object after the other; several of these run at a time."""
        await self._has_plan.wait()
        while True:
            if self.gate.why_not():
                await asyncio.sleep(1.0)
                continue
            try:
                for delivery in await self._queues.pop(
                    self._queue, 1, wait_s=_POP_WAIT_S, hold_s=_HOLD_S
                ):
                    await self._fetch(delivery)
            except QueueError as error:
                self.setbacks.fail(f"the queue: {error}")
                await asyncio.sleep(_RETRY_S)

    async def _fetch(self, delivery: Delivery) -> None:
        entry, wish = self._entries.get(delivery.id), _read_wish(delivery)
        if entry is None or wish is None or await asyncio.to_thread(self._is_here, entry):
            await self._queues.ack(self._queue, [delivery.receipt])  # not wanted, or here already
            return
        store = self._stores_by_key.get(entry.key)
        if store is None or entry.id in self.doing:  # no room now; or held for too short a time
            await self._queues.release(self._queue, delivery.receipt, delay_s=_RETRY_S)
            return
        self.doing[entry.id] = ObjectUnderWay(entry, store, PiecesDone(entry))
        extending = asyncio.create_task(self._keep_holding(delivery.receipt))
        try:
            reached = msgspec.structs.replace(entry, sources=list(self._sources(entry)))
            tier = "peer" if self._turn_left(entry, wish) else "origin"
            sharing = [f"{url}/v1/fill/pieces/{entry.sha256}" for url in self._site.controls]
            note = self._note_pieces(entry, store, is_far=tier == "origin")
            await bring(self.means, Order(reached, Path(store), store, tier, note, sharing))
        except NotNowError as error:
            await self._queues.release(self._queue, delivery.receipt, reason=str(error)[:500])
        except (NoSourceError, WrongDigestError, OSError) as error:
            await self._put_off(delivery, entry, wish, error)
        else:
            await self._finish(delivery, entry)
        finally:
            extending.cancel()
            del self.doing[entry.id]

    def _note_pieces(
        self, entry: Entry, store: str, *, is_far: bool
    ) -> Callable[[PiecesDone], None]:
        def note(pieces: PiecesDone) -> None:
            self.doing[entry.id] = ObjectUnderWay(entry, store, pieces, is_far)
            if is_far and self._site.controls and entry.pieces is not None:
                self._hastener.tell_all(entry.id)  # they follow piece by piece

        return note

    def _is_here(self, entry: Entry) -> bool:
        """A plan may be older than a publication."""
        return any(
            row.sha256 == entry.sha256 and row.size == entry.size and is_as_known(row)
            for row in self.means.held.find_all(entry.key)
        )

    def find_entry(self, sha256: str) -> Entry | None:
        """An object with pieces, by its digest."""
        return self._by_digest.get(sha256)

    def _sources(self, entry: Entry) -> Iterator[Source]:
        """Peers of the settings, then what the manifest has."""
        for url in self._site.peers.values():
            yield Source(tier="peer", url=f"{url.rstrip('/')}/{quote(entry.key)}")
        yield from entry.sources

    def _turn_left(self, entry: Entry, wish: Wish) -> float:
        return self._turns.left(entry, wish.since, time.time(), self.means.clock())

    async def _keep_holding(self, receipt: str) -> None:
        while True:
            await asyncio.sleep(_EXTEND_S)
            with contextlib.suppress(QueueError):  # then another may get it, and do it again
                await self._queues.extend(self._queue, receipt, _HOLD_S)

    async def _finish(self, delivery: Delivery, entry: Entry) -> None:
        self.published["objects"] += 1
        self.published["bytes"] += entry.size
        self._stores_by_key.pop(entry.key, None)
        self.setbacks.settle(entry.id)
        self.holdings.add(entry.id)
        self.compared = self.compared._replace(sums=self.compared.sums.moved(entry.size))
        self._hastener.tell_all(entry.id)
        await self._queues.ack(self._queue, [delivery.receipt])

    async def _put_off(
        self, delivery: Delivery, entry: Entry, wish: Wish, error: Exception
    ) -> None:
        """Try again later: when a source is back, when it may be asked for farther away."""
        delay = min(_MOST_RETRY_S, _RETRY_S * 2 ** min(delivery.tries - 1, 10))
        if isinstance(error, NoSourceError):
            if error.back is not None:
                delay = min(delay, max(0.5, error.back - self.means.clock()))
            if left := self._turn_left(entry, wish):
                delay = min(left, _MOST_RETRY_S)
        else:
            self.setbacks.fail(f"{entry.key}: {error}")
        if isinstance(error, OSError):  # a store is full or gone: another may take it
            self._comparer.doubt(self.doing[entry.id].store, error)
            self.change()
        self.setbacks.postpone(entry.id, entry.size, str(error))
        refused = await self._queues.release(
            self._queue, delivery.receipt, delay_s=delay, reason=str(error)[:500]
        )
        if refused is not None:
            self.setbacks.fail(f"{entry.key}: {refused.why}")

    async def retry(self) -> int:
        """Have everything that waits be tried now; how many were put aside, or waited."""
        kicked = await self._queues.kick(self._queue, _MOST_HURRIED)
        return kicked + await self._hurry()

    async def _hurry(self) -> int:
        """Whatever is delayed is due; how many were."""
        delayed: list[Kept] = await self._queues.peek(
            self._queue, MessageState.DELAYED, _MOST_HURRIED
        )
        for kept in delayed:
            with contextlib.suppress(MessageStateError, UnknownMessageError):
                await self._queues.retime(self._queue, kept.id, 0)
        return len(delayed)


_NOTHING = sum_up(Manifest(version="", objects=[]), Plan(actions=[]), 0.0)


def _by_name(
    manifest: Manifest, compared: Compared
) -> tuple[dict[str, Entry], dict[str, Entry], dict[str, str]]:
    """Entries by id and by digest, and the stores of those that are to be fetched by key."""
    fetches = compared.plan.of(Kind.FETCH)
    return (
        {entry.id: entry for entry in manifest.objects},
        {entry.sha256: entry for entry in manifest.objects if entry.pieces is not None},
        {action.key: action.store for action in fetches},
    )


def _note_holdings(holdings: HoldingsMap, manifest: Manifest, compared: Compared) -> None:
    plan = compared.plan
    here = (action.place for action in plan.of(Kind.KEEP) if action.place is not None)
    places = {
        manifest.objects[action.place].id: action.place
        for action in plan.of(Kind.FETCH)
        if action.place is not None
    }
    holdings.replace(str(manifest.version), len(manifest.objects), here, places)


def _read_wish(delivery: Delivery) -> Wish | None:
    """None if it is no wish: the engine may be others' as well."""
    try:
        return msgspec.json.decode(delivery.body, type=Wish)
    except msgspec.MsgspecError:
        return None


def _message(entry: Entry, now: float) -> Message:
    return Message(
        id=entry.id,
        body=encode_body(Wish(key=entry.key, since=now)),
        priority=entry.priority,
        max_tries=_TRIES,
    )
