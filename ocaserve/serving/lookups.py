"""Looking for objects that are not open: on all stores at once, in a bounded, fair line each.

A stalled disk hides no other's objects: the first store that has the object ends the look-up. A
store may answer long after, and is then not heard. Who stops waiting is forgotten at once, and so
is what nobody waits for, unless a thread has it already.
"""

from __future__ import annotations

import errno
import socket
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from functools import partial

from ocaserve.serving.files import OpenedObject, open_object
from ocaserve.serving.line import FairLine
from ocaserve.serving.pool import JobError, contain
from ocaserve.serving.store import LOOKUPS_AT_ONCE, OpenFile, Store
from ocaserve.stores.answers import EXHAUSTED
from ocaserve.stores.judging import StoreState

Found = OpenFile | OSError | None
"""The object; why it can't be had now; or that no store has it."""
Done = Callable[[Found], None]
Forget = Callable[[], None]


class StoreAwayError(OSError):
    """A store that may have the object is failed."""

    def __init__(self, store: Store) -> None:
        super().__init__(errno.ENODEV, f"a store is failed: {store.why}")


class LineFullError(OSError):
    """Too many look-ups wait for the store."""

    def __init__(self) -> None:
        super().__init__(errno.EBUSY, "too many look-ups wait")


class UnreadableError(OSError):
    """The object is there, or may be, and cannot be opened or read."""


class Lookup:
    """One key being looked for. places: who stands for it in which store's line."""

    __slots__ = ("avoided", "error", "is_over", "key", "places", "running", "waiters")

    def __init__(self, key: bytes, avoided: frozenset[Store]) -> None:
        self.key = key
        self.avoided = avoided
        self.is_over = False
        self.running = 0  # stores whose threads have it
        self.places: dict[Store, set[bytes]] = {}
        self.waiters: dict[object, Done] = {}
        self.error: OSError | None = None


class Lookups:
    """All look-ups under way. `admit` makes an open file of what a store has; `doubt` hears of
    objects that cannot be opened.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        stores: Sequence[Store],
        small_object_bytes: int,
        admit: Callable[[Store, bytes, OpenedObject], OpenFile],
        doubt: Callable[[Store, OSError], None],
    ) -> None:
        self._loop = loop
        self._stores = stores
        self._lines = {store: FairLine[Lookup](store.most_waiting) for store in stores}
        self._small_object_bytes = small_object_bytes
        self._admit = admit
        self._doubt = doubt
        self._under_way: dict[tuple[bytes, frozenset[Store]], Lookup] = {}
        self.refused = 0  # for want of a place in a line

    def __len__(self) -> int:
        return len(self._under_way)

    def count_waiting(self, store: Store) -> int:
        """How many stand in its line."""
        return len(self._lines[store])

    def find(self, key: bytes, client: bytes, avoided: frozenset[Store], done: Done) -> Forget:
        """Look on all stores but `avoided`. `done` is called later, unless it is forgotten."""
        lookup = self._under_way.get((key, avoided))
        if lookup is None:
            lookup = self._under_way[key, avoided] = Lookup(key, avoided)
            stores: Sequence[Store] = self._stores
        else:
            stores = list(lookup.places)
        ticket = object()
        lookup.waiters[ticket] = done
        lookup.running += 1  # so that it is not over before all stores have their part in it
        for store in stores:
            if store in avoided:
                lookup.error = lookup.error or UnreadableError(errno.EIO, "it cannot be read")
            elif store.can_be_asked:
                self._join(store, client_of(client), lookup)
            else:
                lookup.error = lookup.error or StoreAwayError(store)
        lookup.running -= 1
        for store in stores:
            self.ask(store)
        self._resolve_if_over(lookup)
        return partial(self._forget, lookup, ticket)

    def _join(self, store: Store, client: bytes, lookup: Lookup) -> None:
        lookup.places.setdefault(store, set()).add(client)
        lost = self._lines[store].join(client, lookup)
        if lost is not None:
            of_client, refused = lost
            self._lose_place(store, of_client, refused)

    def _lose_place(self, store: Store, client: bytes, lookup: Lookup) -> None:
        places = lookup.places[store]
        places.discard(client)
        if not places:
            del lookup.places[store]
            lookup.error = lookup.error or LineFullError()
            self.refused += 1
            self._resolve_if_over(lookup)

    def ask(self, store: Store) -> None:
        """Let threads have what is next in the line, unless it waits for the first look."""
        while store.looking_up < LOOKUPS_AT_ONCE and store.state is not StoreState.UNSEEN:
            turn = self._lines[store].take()
            if turn is None:
                return
            client, lookup = turn
            others = lookup.places.pop(store, set())
            for other in others - {client}:
                self._lines[store].leave(other, lookup)
            folder = store.folder
            if folder is None or not store.can_be_asked:
                lookup.error = lookup.error or StoreAwayError(store)
                self._resolve_if_over(lookup)
                continue
            store.looking_up += 1
            lookup.running += 1
            work = partial(
                open_object, folder, store.open_below, lookup.key, self._small_object_bytes
            )
            store.lookups.submit(work, partial(self._opened, store, lookup))

    def _opened(self, store: Store, lookup: Lookup, outcome: object) -> None:
        """One store has answered."""
        store.looking_up -= 1
        lookup.running -= 1
        if isinstance(outcome, OpenedObject):
            if lookup.is_over:
                _refuse(store, outcome)
            elif not store.can_be_asked:  # it failed meanwhile
                _refuse(store, outcome)
                lookup.error = lookup.error or StoreAwayError(store)
            else:
                self._resolve(lookup, self._admit(store, lookup.key, outcome))
        elif isinstance(outcome, OSError):
            if not isinstance(outcome, JobError) and outcome.errno not in EXHAUSTED:
                self._doubt(store, outcome)
                outcome = UnreadableError(outcome.errno, outcome.strerror)
            lookup.error = lookup.error or outcome
        self._resolve_if_over(lookup)
        self.ask(store)

    def _resolve_if_over(self, lookup: Lookup) -> None:
        if not lookup.running and not lookup.places and not lookup.is_over:
            lookup.is_over = True
            self._loop.call_soon(self._resolve, lookup, None)

    def _resolve(self, lookup: Lookup, found: OpenFile | None) -> None:
        """Tell all who wait. An exception of one would be an event of the loop's own."""
        if self._under_way.get((lookup.key, lookup.avoided)) is lookup:
            self._end(lookup)
        waiters, lookup.waiters = lookup.waiters, {}
        for done in waiters.values():
            contain(self._loop, done, lookup.error if found is None else found)

    def _end(self, lookup: Lookup) -> None:
        lookup.is_over = True
        del self._under_way[lookup.key, lookup.avoided]
        for store, clients in lookup.places.items():
            for client in clients:
                self._lines[store].leave(client, lookup)
        lookup.places = {}

    def flush(self, store: Store) -> None:
        """The store is failed: nobody need wait for it."""
        while (turn := self._lines[store].take()) is not None:
            _, lookup = turn
            for client in lookup.places.pop(store, set()):
                self._lines[store].leave(client, lookup)
            lookup.error = lookup.error or StoreAwayError(store)
            self._resolve_if_over(lookup)

    def _forget(self, lookup: Lookup, ticket: object) -> None:
        lookup.waiters.pop(ticket, None)
        if not lookup.waiters and not lookup.is_over:
            self._end(lookup)


def client_of(address: bytes) -> bytes:
    """Whose turn it is: an IPv6 client has a whole /64 of addresses."""
    if b":" not in address:
        return address
    try:
        return socket.inet_pton(socket.AF_INET6, address.decode())[:8]
    except (OSError, ValueError):  # a unix socket, or a zone behind the address
        return address


def _refuse(store: Store, opened: OpenedObject) -> None:
    store.known.submit(opened.close, ignore)


def ignore(_: object) -> None:
    """Nothing waits for this job; a close that fails has nothing left to be done."""
