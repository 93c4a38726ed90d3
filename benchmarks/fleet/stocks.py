"""What the network is to hold, and what appliances make of it: ask, fill, tell."""

from __future__ import annotations

import asyncio
import json
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from random import Random

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from benchmarks.fleet.documents import ModelAppliance
from benchmarks.fleet.wire import Caller
from ocaserve.steering.objects import Holdings

MANIFEST_S = 300.0
"""`fill.manifest_interval_s` as it is by default."""
_CONNECTIONS = 8
_FILM_BYTES = 1 << 30


class _Entry(Struct):
    key: str
    size: int


class _Manifest(Struct):
    version: str
    objects: list[_Entry]


def film(number: int) -> str:
    return f"film-{number:06}.mp4"


def show(number: int) -> str:
    return f"show-{number:06}.mp4"


class Shelf:
    """Of one appliance. wanted: numbers of objects, in the order of its manifest; versions: which
    of each. has: which version it has of each object, by its number, 0 for none. lost, lost_at:
    what it had, and until when, before its last manifest; monotonic.
    """

    def __init__(self, size: int) -> None:
        self.tag = ""
        self.manifest = ""
        self.wanted = np.zeros(0, np.uint32)
        self.versions = np.zeros(0, np.uint8)
        self.lost = self.has = np.zeros(size, np.uint8)
        self.lost_at = float("-inf")

    def take(self, manifest: str, wanted: Sequence[int], versions: Sequence[int]) -> None:
        """It is to hold these from now on. What is not among them goes; older versions stay until
        the new ones are whole, and are not told of.
        """
        self.manifest = manifest
        self.wanted, self.versions = np.array(wanted, np.uint32), np.array(versions, np.uint8)
        kept = np.zeros(len(self.has), np.uint8)
        kept[self.wanted] = self.has[self.wanted]
        self.lost, self.lost_at = self.has, time.monotonic()
        self.has = kept

    def fill(self, most: int) -> None:
        """So many more are whole."""
        places = np.flatnonzero(~self._is_whole)[:most]
        filled = self.has.copy()
        filled[self.wanted[places]] = self.versions[places]
        self.has = filled

    @property
    def _is_whole(self) -> NDArray[np.bool_]:
        """By the place in the manifest."""
        return np.equal(self.has[self.wanted], self.versions)

    @property
    def is_full(self) -> bool:
        return bool(self.manifest and self._is_whole.all())

    def tell(self) -> Holdings:
        """As a report has it."""
        here = np.packbits(self._is_whole, bitorder="little").tobytes()
        return Holdings(manifest=self.manifest, count=len(self.wanted), here=here)


class Stocks:
    """changed: called with an appliance that has something new to tell.

    keys: of the catalogue, of which all objects are of one version. statuses: of answers to those
    who asked for their manifests. bytes: of these, as they came.
    """

    def __init__(
        self, file: Path, objects: int, appliances: Sequence[ModelAppliance],
        changed: Callable[[Sequence[ModelAppliance]], None], interval_s: float, seed: int,
    ) -> None:  # fmt: skip
        self.objects = objects
        self._file = file
        known = [*map(film, range(objects)), *map(show, range(objects))]
        self._numbers = {key: number for number, key in enumerate(known)}
        self.keys: Sequence[str] = ()
        self._appliances = appliances
        self._changed = changed
        self.interval_s = interval_s
        self.shelves = {each.number: Shelf(2 * objects) for each in appliances}
        self.version = 0
        self.statuses: Counter[int] = Counter()
        self.bytes = 0
        self._chance = Random(seed)  # noqa: S311 - repeatable is what is wanted

    def write(self, keys: Sequence[str], version: int) -> None:
        """Another catalogue, of which each object is another version."""
        entries = [
            {"key": key, "size": _FILM_BYTES + version,
             "sha256": sha256(f"{version}:{key}".encode()).hexdigest(),
             "sources": [{"tier": "origin", "url": f"http://192.0.2.1/{key}"}]}
            for key in keys
        ]  # fmt: skip
        self.keys, self.version = keys, version
        other = self._file.with_suffix(".new")
        other.write_text(json.dumps({"version": str(version), "objects": entries}))
        other.rename(self._file)

    async def keep_asking(self, address: str) -> None:
        """Each appliance for its manifest, one interval after the other."""
        caller = Caller(address, _CONNECTIONS)
        try:
            async with asyncio.TaskGroup() as group:
                for each in self._appliances:
                    group.create_task(self._live(each, caller))
        finally:
            caller.close()

    async def _live(self, each: ModelAppliance, caller: Caller) -> None:
        await asyncio.sleep(self._chance.uniform(0.0, self.interval_s))
        while True:
            if each.is_alive and await self._pull(each, caller):
                shelf = self.shelves[each.number]
                self._tell(each)
                while not shelf.is_full:
                    await asyncio.sleep(self.interval_s / 8)
                    shelf.fill(len(shelf.wanted) // 2 + 1)
                    self._tell(each)
            await asyncio.sleep(self.interval_s * self._chance.uniform(0.9, 1.1))

    async def _pull(self, each: ModelAppliance, caller: Caller) -> bool:
        """Whether there is another one."""
        shelf = self.shelves[each.number]
        known = f"If-None-Match: {shelf.tag}\r\n" if shelf.tag else ""
        try:
            reply = await caller.get(
                f"/v1/manifests/{each.id}", f"Accept-Encoding: gzip\r\n{known}"
            )
        except (OSError, TimeoutError):
            self.statuses[0] += 1
            return False
        self.statuses[reply.status] += 1
        self.bytes += len(reply.body)
        if reply.status != 200:
            return False
        plain = zlib.decompress(reply.body, wbits=31)
        manifest = msgspec.json.decode(plain, type=_Manifest)
        shelf.tag = reply.tag.decode()
        if manifest.version == shelf.manifest:
            return False
        wanted = [self._numbers[entry.key] for entry in manifest.objects]
        versions = [entry.size - _FILM_BYTES for entry in manifest.objects]
        shelf.take(manifest.version, wanted, versions)
        return True

    def _tell(self, each: ModelAppliance) -> None:
        each.held = self.shelves[each.number].tell()
        self._changed([each])

    @property
    def in_vain(self) -> int:
        """How often an appliance asked and was not told what it is to hold."""
        return sum(count for status, count in self.statuses.items() if status not in (200, 304))

    @property
    def behind(self) -> int:
        """Appliances that were not given a manifest of the latest catalogue yet."""
        return sum(
            not len(each.versions) or each.versions[0] != self.version
            for each in self.shelves.values()
        )

    @property
    def unfilled(self) -> int:
        """Appliances that do not have all of the latest manifest that they were given."""
        return sum(not each.is_full for each in self.shelves.values())

    def has(self, number: int, key: str, at: float, bound_s: float, *, is_generous: bool) -> bool:
        """Whether an appliance has an object. is_generous: what it has just lost counts; else that
        alone of which it has told so long ago, in the version that is wanted.
        """
        shelf, each, place = self.shelves[number], self._appliances[number], self._numbers[key]
        had, has = int(shelf.lost[place]), int(shelf.has[place])
        if is_generous:
            return bool(has or (had and at - shelf.lost_at <= bound_s))
        is_known = each.held is each.held_told and at - each.held_told_at > bound_s
        return is_known and has == self.version
