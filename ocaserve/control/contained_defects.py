"""Defects of our own code: each is contained where it happens, named, and counted."""

from __future__ import annotations

import logging
from collections import Counter

_log = logging.getLogger(__name__)


class ControlDefects:
    """`counts`: by the part that they were in: the path of a route, the name of a loop."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._told: set[tuple[str, type[BaseException]]] = set()

    def contain(self, part: str, defect: BaseException) -> None:
        """Count it. The first of a kind is told with its traceback, others in a line."""
        self.counts[part] += 1
        kind = (part, type(defect))
        if kind in self._told:
            _log.error("control: %s failed again: %r", part, defect)
            return
        self._told.add(kind)
        _log.error("control: %s failed", part, exc_info=defect)
