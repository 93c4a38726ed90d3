"""What is to be done, from manifest, stores and popularity: fetch, keep, evict, wait; and why.

Pure: what is held, how full stores are and what is being sent are parameters, and so is the time.

The rules, in this order:

1. What is held with the manifest's size and digest is kept where it is. What has the size, and a
   digest that nobody has looked at yet, waits for that.
2. What is due and not held, or held in another version, is fetched: priority first, then what is
   asked for most, then the manifest's own order. Its store is that which draws highest among those
   that can be written and have room below the high watermark (`placement`); a new version goes
   where the old one is, and what was begun goes on where it was.
3. Where there is no room, what fill has brought and the manifest no longer wants makes it, the
   least asked for first; what is wanted or being sent never does. If that is not enough, the object
   waits, and says so.
4. What the manifest does not name is left alone, unless fill is exclusive.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum

import msgspec
from msgspec import Struct

from ocaserve.fill.manifest import Entry, Manifest
from ocaserve.fill.placement import rank

UNVERIFIED = "is here, and its digest is to be looked at"
NOT_YET = "not before its time"


class Kind(StrEnum):
    """What is to be done with one object."""

    FETCH = "fetch"
    KEEP = "keep"
    EVICT = "evict"
    WAIT = "wait"


class StoreRoom(Struct, frozen=True, kw_only=True):
    """A store as it is. name: by which it draws, whatever order it stands in. Sizes are bytes.

    started: room that objects on their way have taken, by the entry's id; it is no longer free.
    """

    name: str
    size: int
    free: int
    is_writable: bool = True
    started: Mapping[str, int] = msgspec.field(default_factory=dict)


class Held(Struct, frozen=True, kw_only=True):
    """An object that a store has. is_ours: fill has brought it. sha256: empty if unknown."""

    key: str
    store: str
    size: int
    sha256: str = ""
    is_ours: bool = False
    is_being_sent: bool = False


class Action(Struct, frozen=True, kw_only=True):
    """What is to be done with one object, and why. place: in the manifest, None if not in it."""

    kind: Kind
    key: str
    store: str
    size: int
    why: str
    place: int | None = None


class Rules(Struct, frozen=True, kw_only=True):
    """high: the share of a store that fill may leave used."""

    high: float = 0.95
    is_exclusive: bool = False


class Plan(Struct, frozen=True, kw_only=True):
    """All actions: evictions first, since they make room; then in the order of the rules."""

    actions: list[Action]

    def of(self, kind: Kind) -> list[Action]:
        """Those of one kind."""
        return [action for action in self.actions if action.kind is kind]

    def bytes_of(self, kind: Kind) -> int:
        """Their sizes together."""
        return sum(action.size for action in self.of(kind))


def make_plan(
    manifest: Manifest,
    held: Mapping[str, Sequence[Held]],
    stores: Sequence[StoreRoom],
    popularity: Mapping[str, float],
    rules: Rules,
    now: float,
) -> Plan:
    """held: by key. popularity: how often an object was asked for, by key; those not in it never.

    now: seconds since the epoch.
    """
    return Plan(actions=list(_Planning(manifest, held, stores, popularity, rules, now).decide()))


class _Planning:
    """One run: the room that is left, and who may make more."""

    def __init__(
        self,
        manifest: Manifest,
        held: Mapping[str, Sequence[Held]],
        stores: Sequence[StoreRoom],
        popularity: Mapping[str, float],
        rules: Rules,
        now: float,
    ) -> None:
        self._manifest = manifest
        self._held = held
        self._popularity = popularity
        self._rules = rules
        self._now = now
        self._weights = {s.name: float(s.size) for s in stores if s.is_writable and s.size}
        self._room = {
            store.name: store.free - round((1 - rules.high) * store.size)
            for store in stores
            if store.is_writable
        }
        self._started = {s.name: s.started for s in stores if s.is_writable and s.started}
        self._wanted = {entry.key for entry in manifest.objects}
        self._evictable = self._find_evictable()

    def decide(self) -> Iterator[Action]:
        kept: list[Action] = []
        missing: list[tuple[int, Entry]] = []
        for place, entry in enumerate(self._manifest.objects):
            match = self._find_match(entry)
            if match is not None and match.sha256:
                kept.append(
                    _action(Kind.KEEP, entry.key, match.store, entry.size, "is here", place)
                )
            elif match is not None:
                kept.append(
                    _action(Kind.WAIT, entry.key, match.store, entry.size, UNVERIFIED, place)
                )
            else:
                missing.append((place, entry))
        missing.sort(key=self._urgency)
        evictions = list(self._evict_rivals())
        rest: list[Action] = []
        if self._rules.is_exclusive:
            evictions += self._evict_strangers()
        for place, entry in missing:
            made, action = self._place(place, entry)
            evictions += made
            rest.append(action)
        yield from evictions
        yield from rest
        yield from kept

    def _evict_rivals(self) -> Iterator[Action]:
        """Other versions beside the one that is right: clients must not be given those."""
        for place, entry in enumerate(self._manifest.objects):
            copies = self._held.get(entry.key, ())
            if len(copies) < 2 or not any(_is_right(held, entry) for held in copies):
                continue
            for held in copies:
                is_other = held.size != entry.size or held.sha256 not in ("", entry.sha256)
                if is_other and held.store in self._room:
                    self._room[held.store] += held.size
                    why = "another version is right, and is here"
                    yield _action(Kind.EVICT, held.key, held.store, held.size, why, place)

    def _find_match(self, entry: Entry) -> Held | None:
        """The copy that is right, or else one that may be."""
        fit = [each for each in self._held.get(entry.key, ()) if each.size == entry.size]
        right = next((each for each in fit if _is_right(each, entry)), None)
        return right or next((each for each in fit if not each.sha256), None)

    def _urgency(self, row: tuple[int, Entry]) -> tuple[int, float, int]:
        place, entry = row
        return entry.priority, -self._popularity.get(entry.key, 0.0), place

    # -- room ------------------------------------------------------------------------------------

    def _find_evictable(self) -> dict[str, list[Held]]:
        """By store, what may make room, the most asked for first: it is taken from the end."""
        found: dict[str, list[Held]] = {}
        for key, copies in self._held.items():
            if key in self._wanted:
                continue
            for held in copies:
                if held.is_ours and not held.is_being_sent and held.store in self._room:
                    found.setdefault(held.store, []).append(held)
        for rows in found.values():
            rows.sort(key=lambda held: (-self._popularity.get(held.key, 0.0), held.key))
        return found

    def _evict_strangers(self) -> Iterator[Action]:
        for key, copies in sorted(self._held.items()):
            if key in self._wanted:
                continue
            for held in copies:
                if held.is_being_sent:
                    yield _action(
                        Kind.WAIT, key, held.store, held.size, "not wanted, but being sent"
                    )
                elif held.store in self._room:
                    self._room[held.store] += held.size
                    yield _action(Kind.EVICT, key, held.store, held.size, "not in the manifest")
        self._evictable = {}

    def _place(self, place: int, entry: Entry) -> tuple[list[Action], Action]:
        """Where a missing object goes, and what makes room for it."""
        if entry.due > self._now:
            return [], _action(Kind.WAIT, entry.key, "", entry.size, NOT_YET, place)
        copies = self._held.get(entry.key, ())
        why = "another version is here" if copies else "is not here"
        taken = self._room_taken(entry)
        order = [*taken, *(held.store for held in copies if held.store in self._room)]
        order += [name for name in rank(entry.key, self._weights) if name not in order]
        for store in order:
            size = max(0, entry.size - taken.get(store, 0))
            if self._room[store] >= size:
                self._room[store] -= size
                return [], _action(Kind.FETCH, entry.key, store, entry.size, why, place)
        for store in order:
            size = max(0, entry.size - taken.get(store, 0))
            made = self._make_room(store, size)
            if made is not None:
                self._room[store] -= size
                return made, _action(Kind.FETCH, entry.key, store, entry.size, why, place)
        reason = "no store has room for it" if order else "no store can be written"
        return [], _action(Kind.WAIT, entry.key, "", entry.size, reason, place)

    def _room_taken(self, entry: Entry) -> dict[str, int]:
        """By the parts of it that were fetched before, by store, the most first."""
        if not self._started:
            return {}
        found = {
            name: started[entry.id]
            for name, started in self._started.items()
            if entry.id in started
        }
        return dict(sorted(found.items(), key=lambda pair: -pair[1]))

    def _make_room(self, store: str, size: int) -> list[Action] | None:
        """Evictions after which the store has room; None, and nothing done, if there are none."""
        rows = self._evictable.get(store, [])
        gained, count = self._room[store], 0
        while gained < size and count < len(rows):
            count += 1
            gained += rows[-count].size
        if gained < size:
            return None
        chosen = [rows.pop() for _ in range(count)]
        self._room[store] = gained
        return [
            _action(Kind.EVICT, held.key, store, held.size, "no longer wanted, and room is needed")
            for held in chosen
        ]


def _is_right(held: Held, entry: Entry) -> bool:
    return held.size == entry.size and held.sha256 == entry.sha256


def _action(
    kind: Kind, key: str, store: str, size: int, why: str, place: int | None = None
) -> Action:
    return Action(kind=kind, key=key, store=store, size=size, why=why, place=place)
