"""Which objects a worker has sent, and how much of each, since it last told."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from operator import itemgetter

from ocaserve.serving.source import Source

_COPY = 1_000_000  # what is told is in millionths of the object's size
_MOST = 100_000  # objects that are told at once


class ObjectTally:
    """`touched`: files with bytes that nobody was told of; whoever sends adds to `file.sent`."""

    def __init__(self) -> None:
        self.touched: list[Source] = []
        self._back: dict[str, int] = {}  # what could not be told

    def note(self, file: Source, sent: int) -> None:
        """So many bytes of it have been sent."""
        if not file.sent:
            self.touched.append(file)
        file.sent += sent

    def forget(self) -> None:
        """Nobody wants to know."""
        for file in self.touched:
            file.sent = 0
        self.touched.clear()

    def take(self) -> dict[str, int]:
        """What was sent since the last time, by key, in millionths of a copy."""
        taken, self._back = self._back, {}
        for file in self.touched:
            count = file.sent * _COPY // file.representation.size
            file.sent = 0
            try:
                key = file.key.decode()
            except UnicodeDecodeError:  # no manifest can name it
                continue
            taken[key] = taken.get(key, 0) + count
        self.touched.clear()
        if len(taken) > _MOST:
            taken = dict(heapq.nlargest(_MOST, taken.items(), key=itemgetter(1)))
        return taken

    def put_back(self, taken: Mapping[str, int]) -> None:
        """It could not be told: it is told next time."""
        for key, count in taken.items():
            self._back[key] = self._back.get(key, 0) + count
