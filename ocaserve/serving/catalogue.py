"""Which file answers which target: the files that are open, and the stores behind them.

Rules:

* The event loop never waits for a disk: threads of the store open, read and close. A hit costs a
  dictionary look-up.
* What a response is planned from was compared with the file system at most a second before
  (`freshness`). A file replaced by rename, overwritten, or removed is thus seen within a second.
* A response keeps the file it began with. Replaced or removed, the old file is whole behind its
  descriptor and the response ends well. Overwritten in place (same inode, other mtime or size), it
  is `changed`, and the response must be cut: no answer mixes two versions. A response of several
  steps is compared once more before its last one.
* What can't be had now is never "not there": a look-up that some store could not answer, and no
  other did, ends in an error (`lookups`). A store is failed when most of it can't be read, not for
  one bad object (`failing`).
* Nothing here walks all files, on a request or by the clock: `open_files` may be a million.
"""

from __future__ import annotations

import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from functools import partial

from ocaserve.protocol.media_types import content_type_for
from ocaserve.protocol.planning import ResponsePolicy, describe_representation
from ocaserve.serving.failing import Notify, StoreChange, StoreKeeper, StorePatience
from ocaserve.serving.files import OpenedObject
from ocaserve.serving.freshness import CHECK_TICKS, CURRENT_TICKS, Freshness
from ocaserve.serving.lookups import Done, Forget, Lookups, ignore
from ocaserve.serving.pages import Pages, Ranges, let_go
from ocaserve.serving.residency import FRESH_TICKS
from ocaserve.serving.store import Identity, OpenFile, Store
from ocaserve.stores.answers import FORBIDDEN
from ocaserve.stores.judging import StoreEvent

EVERYWHERE: frozenset[Store] = frozenset()
"""No store is avoided."""

_MOST_TARGETS = 4  # spellings of one key that lead to its file at once
_MOST_TARGET_BYTES = 512  # of one of them; longer ones take the longer way
_MOST_PASSED_OVER = 8  # files in use that are passed over to find one to close
_GIVEN_BACK = 16  # files that are closed when the machine has no descriptors left
_LEAST_ROOM = 16  # files, however few descriptors there are
_MORE_ROOM_TICKS = 8  # until one more is tried, after the machine had no descriptors
_DROPPED_PER_TICK = 512  # of a failed store's files


class ObjectCatalogue:
    """The stores' objects as they are now.

    `notify` hears what has changed of a store. Times are ticks, of `TICK_S` each.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        stores: Sequence[Store],
        policy: ResponsePolicy,
        *,
        open_files: int,
        small_object_bytes: int,
        cold_pages: str = "keep",
        notify: Notify,
        patience: StorePatience | None = None,
    ) -> None:
        self.stores = stores
        self._loop = loop
        self.tick = FRESH_TICKS + 1  # so that 0 is never fresh
        self.replaced = 0
        self.unreadable = 0  # objects that could not be opened or read
        self.io_errors = 0  # of them, those that cast doubt on their store
        self._policy = policy
        self._cold_pages = cold_pages
        self._most = self._room = open_files
        self._notify = notify
        self._by_target: dict[bytes, OpenFile] = {}
        self._by_key: dict[bytes, OpenFile] = {}
        self.lookups = Lookups(loop, stores, small_object_bytes, self._admit, self.doubt)
        self._freshness = Freshness(self._drop_replaced)
        self._pages = Pages(self._ref, self._unref)
        self._keeper = StoreKeeper(stores, patience or StorePatience(), self._store_changed)
        for store in stores:
            store.library = self

    def __len__(self) -> int:
        return len(self._by_key)

    def start(self, ready: Callable[[], None]) -> None:
        """Take the stores' folders; `ready` is called when each store has been looked at."""
        waiting = set(self.stores)

        def looked(store: Store) -> None:
            waiting.discard(store)
            if not waiting:
                ready()

        for store in self.stores:
            self._keeper.look(store, self.tick, partial(looked, store))

    # -- the hot path ----------------------------------------------------------------------------

    def get(self, target: bytes) -> OpenFile | None:
        """The file for a target asked for before, if it is known to be current."""
        file = self._by_target.get(target)
        if file is None or file.changed:
            return None
        tick = self.tick
        if tick - file.checked >= CURRENT_TICKS and not self._freshness.refresh(file, tick):
            return None
        if file.used != tick:
            self._use(file, tick)
        return file

    def get_key(self, key: bytes, target: bytes | None = None) -> OpenFile | None:
        """The same for a key. target: what `get` shall know it by from now on, if anything."""
        file = self._by_key.get(key)
        if file is None or file.changed:
            return None
        tick = self.tick
        if tick - file.checked >= CURRENT_TICKS and not self._freshness.refresh(file, tick):
            return None
        if file.used != tick:
            self._use(file, tick)
        if target is not None:
            self._remember_target(target, file)
        return file

    def _use(self, file: OpenFile, tick: int) -> None:
        """The first use in this tick."""
        file.used = tick
        store = file.store
        store.used.add(file)
        store.files.move_to_end(file)

    # -- looking up ------------------------------------------------------------------------------

    def find(
        self,
        target: bytes | None,
        key: bytes,
        done: Done,
        client: bytes = b"",
        avoided: frozenset[Store] = EVERYWHERE,
    ) -> Forget:
        """Find the object; `done` gets the file, None if there is none, or why it can't be had.

        target: what `get` shall know the object by from now on, if anything. client: whose turn it
        is to wait for. avoided: stores on which it can't be read. `done` is called from the event
        loop, never before `find` returns, and not at all after what `find` returns was called.
        """
        if target is not None:
            done = partial(self._remember_found, target, done)
        file = self._by_key.get(key)
        if file is None or file.store in avoided or not file.store.can_be_asked:
            return self.lookups.find(key, client, avoided, done)
        search = _Search()
        told = partial(self._confirmed, search, file, client, avoided, done)
        search.forget = self._freshness.confirm(file, self.tick, told)
        return search

    def _confirmed(
        self,
        search: _Search,
        file: OpenFile,
        client: bytes,
        avoided: frozenset[Store],
        done: Done,
        is_current: bool,
    ) -> None:
        if is_current:
            self._use(file, self.tick)
            done(file)
        else:
            search.forget = self.lookups.find(file.key, client, avoided, done)

    def _remember_target(self, target: bytes, file: OpenFile) -> None:
        if len(target) > _MOST_TARGET_BYTES or self._by_target.get(target) is file:
            return
        if len(file.targets) >= _MOST_TARGETS:
            del self._by_target[file.targets.pop(0)]
        self._by_target[target] = file
        file.targets.append(target)

    def _remember_found(self, target: bytes, done: Done, found: OpenFile | OSError | None) -> None:
        if isinstance(found, OpenFile) and not found.dropped:
            self._remember_target(target, found)
        done(found)

    def _admit(self, store: Store, key: bytes, opened: OpenedObject) -> OpenFile:
        before = self._by_key.get(key)
        if before is not None:
            self._drop(before)
        status = opened.status
        content_type = content_type_for(key)
        representation = describe_representation(
            status.st_size, status.st_mtime_ns, content_type, self._policy, now=int(time.time())
        )
        file = OpenFile(
            store, key, opened.descriptor, Identity.of(status), representation,
            opened.residency, opened.content,
        )  # fmt: skip
        file.checked = file.used = self.tick
        if len(self._by_key) >= self._room:
            self._make_room()
        self._by_key[key] = file
        store.files[file] = None
        return file

    # -- letting go ------------------------------------------------------------------------------

    def hold(self, file: OpenFile) -> None:
        """A response that spans turns of the event loop sends this file."""
        file.refs += 1
        sending = file.store.sending
        sending[file] = sending.get(file, 0) + 1

    def release(self, file: OpenFile) -> None:
        """That response is over."""
        sending = file.store.sending
        sending[file] -= 1
        if not sending[file]:
            del sending[file]
        self._unref(file)

    def _ref(self, file: OpenFile) -> None:
        file.refs += 1

    def _unref(self, file: OpenFile) -> None:
        file.refs -= 1
        if file.dropped and not file.refs:
            self._close(file, [])

    def _make_room(self) -> None:
        """Close the file that was used longest ago. One in use would keep its descriptor."""
        for _ in range(_MOST_PASSED_OVER):
            oldest = min(
                (next(iter(store.files)) for store in self.stores if store.files),
                key=lambda file: file.used,
            )
            if not oldest.refs:
                break
            oldest.store.files.move_to_end(oldest)
        self._drop(oldest)

    def shrink(self) -> None:
        """The machine has no descriptors left: give some back, and do with fewer for a while."""
        self._room = max(_LEAST_ROOM, len(self._by_key) - _GIVEN_BACK)
        while len(self._by_key) > self._room:
            self._make_room()

    def _drop(self, file: OpenFile) -> None:
        if file.dropped:
            return
        file.dropped = True
        del self._by_key[file.key]
        for target in file.targets:
            del self._by_target[target]
        file.targets.clear()
        store = file.store
        del store.files[file]
        store.used.discard(file)
        ranges = self._pages.forget(file)
        if not file.refs:
            self._close(file, ranges)

    def _drop_replaced(self, file: OpenFile) -> None:
        if not file.dropped:
            self.replaced += 1
            self._drop(file)

    def _close(self, file: OpenFile, ranges: Ranges) -> None:
        # The last close of a removed file frees its blocks, which can take long: not on the loop.
        file.store.known.submit(partial(_let_go_and_close, file, ranges), ignore)

    # -- keeping up with the stores --------------------------------------------------------------

    def tick_once(self) -> None:
        """A quarter of a second has passed."""
        self.tick += 1
        tick = self.tick
        self._keeper.tick_once(tick)
        for store in self.stores:
            if not store.can_be_asked:
                self._drop_some(store)
            elif tick % CHECK_TICKS == 0:
                self._freshness.check(store, tick)
        self._pages.tick_once(tick)
        if self._room < self._most and tick % _MORE_ROOM_TICKS == 0:
            self._room += 1

    def _drop_some(self, store: Store) -> None:
        """Of a failed store, whose descriptors would keep its disk from being unmounted."""
        for _ in range(min(_DROPPED_PER_TICK, len(store.files))):
            self._drop(next(iter(store.files)))

    def doubt(self, store: Store, error: OSError) -> None:
        """An object of the store could not be opened or read."""
        self.unreadable += 1
        if error.errno not in FORBIDDEN:
            self.io_errors += 1
            store.happen(StoreEvent.DOUBT, store.why)

    def _store_changed(self, store: Store, change: StoreChange) -> None:
        if change is StoreChange.FAILED:
            self.lookups.flush(store)
        elif change is StoreChange.OPENED:
            self.lookups.ask(store)
        self._notify(store, change)

    # -- pages that nobody else wants ------------------------------------------------------------

    def read_from_disk(self, file: OpenFile, start: int, stop: int) -> None:
        """A response had to read this part from disk; what becomes of its pages is policy."""
        self._pages.read_from_disk(file, start, stop, self._cold_pages, self.tick)


class _Search:
    """A comparison that may become a look-up; called, it is forgotten."""

    __slots__ = ("forget",)
    forget: Forget

    def __call__(self) -> None:
        self.forget()


def _let_go_and_close(file: OpenFile, ranges: Ranges) -> None:
    let_go(file.descriptor, ranges)
    file.close()
