"""Which objects of the manifest are here, by their places in it."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Iterable, Mapping

from msgspec import Struct


class HoldingsShown(Struct, frozen=True, kw_only=True):
    """here: a bit for each object in base64: that of place n is bit n of the bytes, from the lowest
    of the first one.
    """

    manifest: str
    count: int
    here: str


class HoldingsMap:
    """stamp: another one after each change; empty before anything is known."""

    def __init__(self) -> None:
        self.stamp = ""
        self._manifest = ""
        self._count = 0
        self._bits = bytearray()
        self._places: Mapping[str, int] = {}

    def replace(
        self, manifest: str, count: int, here: Iterable[int], places: Mapping[str, int]
    ) -> None:
        """As of a comparison. places: of objects that may come, by the entry's id."""
        bits = bytearray(-(-count // 8))
        for place in here:
            bits[place // 8] |= 1 << place % 8
        self._places = places
        if not self.stamp or (manifest, count, bits) != (self._manifest, self._count, self._bits):
            self._manifest, self._count, self._bits = manifest, count, bits
            self._mark()

    def add(self, name: str) -> None:
        """An object has come, by its entry's id."""
        place = self._places.get(name)
        if place is not None:
            self._bits[place // 8] |= 1 << place % 8
            self._mark()

    def _mark(self) -> None:
        self.stamp = f"{time.time_ns():x}"

    def show(self) -> HoldingsShown:
        """All of it."""
        here = b64encode(self._bits).decode("ascii")
        return HoldingsShown(manifest=self._manifest, count=self._count, here=here)
