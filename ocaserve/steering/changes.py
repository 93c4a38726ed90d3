"""What is new since a serial, without a memory of what happened.

A serial is a state of everything that is reported. The log only knows at which serial each prefix
and each section changed last; what it is now is asked when it is told. So any number of changes to
a prefix are one, and whoever applies them has the state of now. The log is bounded: what changed
too long ago is forgotten, and then the whole report is the shorter answer.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from bgp.prefixes import Prefix

KEPT = 50_000
"""Prefixes that the log knows: more than this are quicker fetched as a whole report."""


class GoneError(Exception):
    """What changed since then is not known; the text says why. The report is to be fetched."""


class Changed(NamedTuple):
    """What changed: prefixes, and sections by name."""

    prefixes: list[Prefix]
    sections: list[str]


class Recent(NamedTuple):
    """A prefix and when it changed last."""

    prefix: Prefix
    serial: int
    at: float


class _Batch(NamedTuple):
    """The prefixes of one serial, as numbers: a million tuples would be the collector's work."""

    serial: int
    at: float
    codes: tuple[int, ...]


class ChangeLog:
    """Marks go into the serial that comes next; `commit` makes it the current one."""

    def __init__(self, session: str, kept: int = KEPT) -> None:
        self.session = session
        self.serial = 0
        self.is_dirty = False
        self._kept = kept
        self._floor = 0  # nothing that changed later is forgotten
        self._pending: dict[int, None] = {}
        self._is_over = False  # more is pending than can be kept
        self._batches: deque[_Batch] = deque()
        self._size = 0  # codes in all batches
        self._sections: dict[str, int] = {}

    def mark(self, family: int, length: int, bits: int) -> None:
        """A prefix is not what it was."""
        self._pending[(bits << 16) | (length << 8) | family] = None
        self.is_dirty = True
        if len(self._pending) > self._kept:
            self._pending.clear()
            self._is_over = True

    def mark_section(self, name: str) -> None:
        """A section is not what it was."""
        self._sections[name] = self.serial + 1
        self.is_dirty = True

    def commit(self, now: float = 0.0) -> bool:
        """Make what was marked a serial of its own; False when nothing was."""
        if not self.is_dirty:
            return False
        self.serial += 1
        if self._pending:
            self._batches.append(_Batch(self.serial, now, tuple(self._pending)))
            self._size += len(self._pending)
        while self._size > self._kept:
            self._forget()
        if self._is_over:
            self._floor = self.serial
        self._pending = {}
        self.is_dirty = self._is_over = False
        return True

    def _forget(self) -> None:
        oldest = self._batches.popleft()
        self._size -= len(oldest.codes)
        assert self._floor <= oldest.serial <= self.serial, "what is forgotten is the oldest"
        self._floor = oldest.serial

    def since(self, session: str, after: int) -> Changed:
        """What changed after a serial. Raises GoneError."""
        self.check(session, after)
        codes: dict[int, None] = {}
        for batch in reversed(self._batches):
            if batch.serial <= after:
                break
            codes.update(dict.fromkeys(batch.codes))
        sections = [name for name, serial in self._sections.items() if serial > after]
        return Changed([_prefix(code) for code in codes], sections)

    def recent(self, most: int) -> list[Recent]:
        """The prefixes that changed last, the newest first, each once."""
        found: dict[int, Recent] = {}
        for batch in reversed(self._batches):
            for code in reversed(batch.codes):
                if len(found) >= most:
                    return list(found.values())
                found.setdefault(code, Recent(_prefix(code), batch.serial, batch.at))
        return list(found.values())

    def check(self, session: str, after: int) -> None:
        """Raise GoneError where `since` would."""
        if session != self.session:
            raise GoneError("the session is another: the table was built anew since")
        if after > self.serial:
            raise GoneError(f"serial {after} has not been: the last is {self.serial}")
        if after < self._floor:
            raise GoneError(f"serial {after} is too old: changes are known from {self._floor} on")


def _prefix(code: int) -> Prefix:
    return Prefix(code & 0xFF, code >> 8 & 0xFF, code >> 16)
