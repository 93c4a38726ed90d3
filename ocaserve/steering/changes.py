"""What is new since a serial, without a memory of what happened.

A serial is a state of everything that is reported. The log only knows at which serial each prefix
and each section changed last; what it is now is asked when it is told. So any number of changes to
a prefix are one, and whoever applies them has the state of now. The log is bounded: what changed
too long ago is forgotten, and then the whole report is the shorter answer.
"""

from __future__ import annotations

from collections import OrderedDict
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


class ChangeLog:
    """Marks go into the serial that comes next; `commit` makes it the current one."""

    def __init__(self, session: str, kept: int = KEPT) -> None:
        self.session = session
        self.serial = 0
        self._kept = kept
        self._floor = 0  # nothing that changed later is forgotten
        self._prefixes: OrderedDict[int, int] = OrderedDict()
        self._sections: dict[str, int] = {}
        self.is_dirty = False

    def mark(self, family: int, length: int, bits: int) -> None:
        """A prefix is not what it was."""
        code = (bits << 9) | (length << 1) | (family == 6)
        self._prefixes[code] = self.serial + 1
        self._prefixes.move_to_end(code)
        self.is_dirty = True
        if len(self._prefixes) > self._kept:
            self._floor = self._prefixes.popitem(last=False)[1]

    def mark_section(self, name: str) -> None:
        """A section is not what it was."""
        self._sections[name] = self.serial + 1
        self.is_dirty = True

    def commit(self) -> bool:
        """Make what was marked a serial of its own; False when nothing was."""
        if not self.is_dirty:
            return False
        self.serial += 1
        self.is_dirty = False
        return True

    def since(self, session: str, after: int) -> Changed:
        """What changed after a serial. Raises GoneError."""
        self._check(session, after)
        codes = []
        for code, serial in reversed(self._prefixes.items()):
            if serial <= after:
                break
            codes.append(code)
        sections = [name for name, serial in self._sections.items() if serial > after]
        return Changed([_prefix(code) for code in reversed(codes)], sections)

    def _check(self, session: str, after: int) -> None:
        if session != self.session:
            raise GoneError("the session is another: the table was built anew since")
        if after > self.serial:
            raise GoneError(f"serial {after} has not been: the last is {self.serial}")
        if after < self._floor:
            raise GoneError(f"serial {after} is too old: changes are known from {self._floor} on")


def _prefix(code: int) -> Prefix:
    return Prefix(6 if code & 1 else 4, code >> 1 & 0xFF, code >> 9)
